#!/usr/bin/env bash
# Trains a judge from DeepSeek-R1-Distill-Qwen-7B by GRPO on one node of 8 GPUs of 80 GB. Not run on a GPU.
#
#   bash integrations/openrlhf/judge_7b.sh train.jsonl [flags of OpenRLHF, which win over those below]
#
# README.md says what it needs; docs/recipes.md where each value comes from.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$(realpath "${1:?name the file that rrm train-data wrote}")
shift

flags=(
  # what is trained, on what, for what
  --actor.model_name_or_path deepseek-ai/DeepSeek-R1-Distill-Qwen-7B
  --data.prompt_dataset "$data"
  --data.input_key prompt
  --data.label_key label
  --data.apply_chat_template
  --data.max_samples 64000                  # 500 steps
  --reward.remote_url "$here/judge_reward.py"

  # a step: 2048 replies, two updates
  --rollout.batch_size 128                  # prompts
  --rollout.n_samples_per_prompt 16
  --train.batch_size 1024                   # replies of an update: 64 prompts
  --rollout.temperature 0.6
  --rollout.top_p 1.0
  --rollout.max_new_tokens 8192
  --data.max_len 12288                      # prompt and reply: the prompt may have 4096

  # GRPO
  --algo.advantage.estimator group_norm
  --actor.eps_clip 0.2
  --algo.kl.use_loss
  --algo.kl.estimator k3
  --algo.kl.init_coef 1e-3
  --actor.adam.lr 1e-6
  --actor.lr_scheduler constant

  # GPUs: generation and training take turns on all of them
  --actor.num_nodes 1
  --actor.num_gpus_per_node 8
  --ref.num_nodes 1
  --ref.num_gpus_per_node 8
  --vllm.num_engines 8
  --vllm.tensor_parallel_size 1
  --train.colocate_all
  --vllm.enable_sleep
  --ds.enable_sleep
  --vllm.gpu_memory_utilization 0.7
  --vllm.enable_prefix_caching              # the 16 replies share their prompt
  --ds.zero_stage 3
  --actor.gradient_checkpointing_enable
  --ds.packing_samples
  --train.dynamic_batch_enable
  --train.max_tokens_per_gpu 16384          # of one pass; at least --data.max_len
  --rollout.max_tokens_per_gpu 16384

  # what is kept; a killed run goes on where it was saved
  --ckpt.output_dir "$PWD/outputs/judge-7b"
  --ckpt.path "$PWD/outputs/judge-7b/checkpoints"
  --ckpt.save_steps 50
  --ckpt.save_hf
  --ckpt.max_num 2
  --ckpt.load_enable
  --logger.tensorboard_dir "$PWD/outputs/judge-7b/log"
)
exec python -m openrlhf.cli.train_ppo_ray "${flags[@]}" "$@"
