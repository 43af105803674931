#!/bin/sh
# Pretraining with torchrun: every machine runs this with the same FIRST_MACHINE.
#
#   sh examples/torchrun.sh STORE RUN MACHINES GPUS FIRST_MACHINE
#
# When a process is lost, torchrun ends the others and starts all of them again, up to three times; they go on
# from the newest checkpoint. On one machine `run.devices=GPUS` alone does without torchrun, but does not start
# again by itself.
set -eu
store=$1 run=$2 machines=$3 gpus=$4 first=$5

# Without it, processes that are started again look for the lost ones' addresses.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec torchrun --nnodes "$machines" --nproc-per-node "$gpus" --max-restarts 3 \
  --rdzv-backend c10d --rdzv-endpoint "$first:29400" --rdzv-id "$(basename "$run")" \
  -m mien pretrain clp-paper --store "$store" --out "$run" \
  --set run.nodes="$machines" run.devices="$gpus" run.checkpoint_every_steps=500
