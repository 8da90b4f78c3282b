#!/usr/bin/env bash
# Trains Qwen2.5-7B-Instruct by GRPO on questions without labels, with a judge as the only reward: on 4 GPUs of 80 GB,
# while the judge is served on others. Not run on a GPU.
#
#   CUDA_VISIBLE_DEVICES=0,1,2,3 bash integrations/openrlhf/policy_7b.sh policy.jsonl [flags of OpenRLHF, which win]
#
# README.md says how to serve the judge and where the values come from; judge.yaml has its settings.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$(realpath "${1:?name the file that rrm policy-data wrote}")
shift
export RRM_CONFIG=${RRM_CONFIG:-$here/judge.yaml}

flags=(
  # what is trained, on what, for what
  --actor.model_name_or_path Qwen/Qwen2.5-7B-Instruct
  --data.prompt_dataset "$data"
  --data.input_key prompt
  --data.label_key prompt                   # the judge is shown the conversation, not what the chat template made of it
  --data.apply_chat_template
  --data.max_samples 12800                  # 200 steps
  --train.agent_func_path "$here/agent.py"

  # a step: 512 replies, one update
  --rollout.batch_size 64                   # prompts
  --rollout.n_samples_per_prompt 8
  --eval.n_samples_per_prompt 8
  --train.batch_size 512                    # replies of an update: all of a step
  --rollout.temperature 1.0
  --rollout.top_p 1.0
  --rollout.max_new_tokens 4096
  --data.max_len 5120                       # prompt and reply: the prompt may have 1024

  # GRPO
  --algo.advantage.estimator group_norm
  --actor.eps_clip 0.2
  --algo.kl.use_loss
  --algo.kl.estimator k3
  --algo.kl.init_coef 1e-3
  --actor.adam.lr 1e-6
  --actor.lr_scheduler constant

  # GPUs: generation and training take turns on all four
  --actor.num_nodes 1
  --actor.num_gpus_per_node 4
  --ref.num_nodes 1
  --ref.num_gpus_per_node 4
  --vllm.num_engines 4
  --vllm.tensor_parallel_size 1
  --train.colocate_all
  --vllm.enable_sleep
  --ds.enable_sleep
  --vllm.gpu_memory_utilization 0.6
  --vllm.enable_prefix_caching              # the 8 replies share their prompt
  --ds.zero_stage 3
  --actor.gradient_checkpointing_enable
  --ds.packing_samples
  --train.dynamic_batch_enable
  --train.max_tokens_per_gpu 10240          # of one pass; at least --data.max_len
  --rollout.max_tokens_per_gpu 10240

  # what is kept; a killed run goes on where it was saved
  --ckpt.output_dir "$PWD/outputs/policy-7b"
  --ckpt.path "$PWD/outputs/policy-7b/checkpoints"
  --ckpt.save_steps 50
  --ckpt.save_hf
  --ckpt.max_num 2
  --ckpt.load_enable
  --ckpt.best_metric_key none               # a mean of rewards within groups says nothing of the policy
  --logger.tensorboard_dir "$PWD/outputs/policy-7b/log"
)
exec python -m openrlhf.cli.train_ppo_ray "${flags[@]}" "$@"
