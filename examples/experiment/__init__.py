"""The RRM experiment in miniature: a judge learns to think before it judges, then teaches a policy without any label.

    python -m examples.experiment            everything from nothing, three seeds; writes docs/experiment
    python -m examples.experiment --help

Tiny Qwen2 models made from scratch, real transformers, real TRL trainers, two CPU cores.

    questions      two-digit additions in disjoint splits, and what a mediocre corpus says about them
    languages      the tokenizers and models of policy and judge
    traces         what the judge's cold start is trained on: working, glancing, looking up
    pretraining    next-token training: the policy (A), the judge's cold start (B1)
    pairs          pairs of the policy's own answers, one right and one wrong
    judge_rl       GRPO of the judge, +1 for the right verdict and -1 otherwise (B2)
    policy_rl      GRPO of the policy with a judge as its only reward, and the controls (C)
    measures       what is measured on held-out questions
    stages         which stage needs which, what each writes, in which order
    report         results.json -> table, charts, page
"""
