#!/usr/bin/env bash
# Trains a judge from DeepSeek-R1-Distill-Qwen-1.5B by GRPO on one GPU of 80 GB. Not run on a GPU.
#
#   bash integrations/openrlhf/judge_1_5b.sh train.jsonl [flags of OpenRLHF, which win over those below]
#
# All weights are trained: this version does not bring LoRA's into vLLM. README.md says what it needs; docs/recipes.md
# where each value comes from.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$(realpath "${1:?name the file that rrm train-data wrote}")
shift

flags=(
  # what is trained, on what, for what
  --actor.model_name_or_path deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B
  --data.prompt_dataset "$data"
  --data.input_key prompt
  --data.label_key label
  --data.apply_chat_template
  --data.max_samples 9600                   # 300 steps
  --reward.remote_url "$here/judge_reward.py"

  # a step: 256 replies, one update
  --rollout.batch_size 32                   # prompts
  --rollout.n_samples_per_prompt 8
  --train.batch_size 256                    # replies of an update: all of a step
  --rollout.temperature 0.6
  --rollout.top_p 1.0
  --rollout.max_new_tokens 4096
  --data.max_len 7168                       # prompt and reply: the prompt may have 3072

  # GRPO
  --algo.advantage.estimator group_norm
  --actor.eps_clip 0.2
  --algo.kl.use_loss
  --algo.kl.estimator k3
  --algo.kl.init_coef 1e-3
  --actor.adam.lr 1e-6
  --actor.lr_scheduler constant

  # the GPU: generation and training take turns on it
  --actor.num_nodes 1
  --actor.num_gpus_per_node 1
  --ref.num_nodes 1
  --ref.num_gpus_per_node 1
  --vllm.num_engines 1
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
  --train.max_tokens_per_gpu 16384          # of one pass; at least --data.max_len
  --rollout.max_tokens_per_gpu 16384

  # what is kept; a killed run goes on where it was saved
  --ckpt.output_dir "$PWD/outputs/judge-1.5b"
  --ckpt.path "$PWD/outputs/judge-1.5b/checkpoints"
  --ckpt.save_steps 50
  --ckpt.save_hf
  --ckpt.max_num 2
  --ckpt.load_enable
  --logger.tensorboard_dir "$PWD/outputs/judge-1.5b/log"
)
exec python -m openrlhf.cli.train_ppo_ray "${flags[@]}" "$@"
