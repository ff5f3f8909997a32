#!/bin/bash
# sbatch slurm.sh RECIPE RUN: a run on two machines with 8 GPUs each. RUN lies on a file system that both see.
#SBATCH --job-name=flexlora
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=12:00:00
#SBATCH --signal=INT@120
#SBATCH --requeue
# A job that is ended, and one that is requeued, goes on from its last checkpoint.
set -euo pipefail
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun \
    --nnodes "$SLURM_NNODES" --nproc_per_node 8 \
    --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d --rdzv_endpoint "$head:29500" \
    -m flexlora run "$1" --output "$2"
