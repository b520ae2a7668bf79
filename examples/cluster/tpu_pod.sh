#!/usr/bin/env bash
# Evaluates on all workers of a Cloud TPU slice. JAX finds the processes by itself.
# Start it again to finish what an interrupted run left.
set -euo pipefail
name=my-slice               # EDIT
zone=us-central2-b          # EDIT
workdir=/mnt/shared/strokes # EDIT: a disk that all workers mount, such as Filestore
data=/mnt/shared/photos     # EDIT

gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker=all --command "
  cd ~/sdedit_jax &&
  .venv/bin/python main.py --mode=evaluate --config=evaluate_strokes \
    --config.input=$data --workdir=$workdir --config.batch=256
"
