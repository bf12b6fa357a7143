#!/bin/bash
# Sweep latent_dims. The same script again continues: what is recorded is skipped.
#SBATCH --job-name=latent_dims
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --partition=cpu
#SBATCH --time=04:00:00
#SBATCH --output=latent_dims-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120

set -euo pipefail
cd '/shared/me/my study'
unset RAY_ADDRESS
export OMP_NUM_THREADS=1
export RAY_USAGE_STATS_ENABLED=0
export RAY_AUTH_MODE=token
export STUDY_COMMIT=abc123
export STUDY_DIRTY=0
# A token of this job alone: in its environment, never in a file.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

port=$((20000 + SLURM_JOB_ID % 1000 * 10))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# srun does not take over the job's processors by itself.
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
head_ip=$(srun --overlap --nodes=1 --ntasks=1 -w "$head" hostname --ip-address)
head_ip=${head_ip%% *}
export RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID
srun --overlap --nodes=4 --ntasks=4 --ntasks-per-node=1 install -d -m 700 "$RAY_TMPDIR"
srun --overlap --nodes=1 --ntasks=1 -w "$head" .venv/bin/ray start --block --num-cpus=8 --node-manager-port=$((port + 1)) --object-manager-port=$((port + 2)) --dashboard-agent-listen-port=$((port + 3)) --runtime-env-agent-port=$((port + 4)) --metrics-export-port=$((port + 5)) --min-worker-port=0 --max-worker-port=0 \
  --head --node-ip-address="$head_ip" --port="$port" \
  --ray-client-server-port=$((port + 6)) --include-dashboard=false &
ray_pids=$!
srun --overlap --nodes=3 --ntasks=3 --exclude="$head" \
  .venv/bin/ray start --block --num-cpus=8 --node-manager-port=$((port + 1)) --object-manager-port=$((port + 2)) --dashboard-agent-listen-port=$((port + 3)) --runtime-env-agent-port=$((port + 4)) --metrics-export-port=$((port + 5)) --min-worker-port=0 --max-worker-port=0 --address="$head_ip:$port" &
ray_pids="$ray_pids $!"
# Only what this job started is ended: other jobs may run a Ray on these nodes.
trap 'kill $ray_pids 2>/dev/null || true; rm -rf "$RAY_TMPDIR"' EXIT
.venv/bin/python -u -m study.sweep sweeps/latent_dims.yaml --results /shared/me/results --set training.epochs=20 --wait-for-nodes 4 --address "$head_ip:$port" &
sweep_pid=$!
# bash waits for a child before it handles a signal, so the child runs in the background.
# USR1: the time is up, the rest is for another run. TERM: somebody cancels the job.
# At the time limit itself TERM comes, too, but 120 s or more after USR1.
stopped=0
warned=0
trap 'stopped=1; warned=$SECONDS; kill -TERM $sweep_pid 2>/dev/null || true' USR1
trap '[ $((SECONDS - warned)) -ge 105 ] || stopped=0
  kill -TERM $sweep_pid 2>/dev/null || true' TERM
status=0
wait "$sweep_pid" || status=$?
while kill -0 "$sweep_pid" 2>/dev/null; do
  status=0
  wait "$sweep_pid" || status=$?
done
runs=${SLURM_RESTART_COUNT:-0}
if [ "$stopped" = 1 ] && [ "$status" != 0 ] && [ "$runs" -lt 20 ]; then
  echo "stopped before the end: back in the queue"
  # In an array this task alone: the first task's number is the whole array's, too.
  own=$SLURM_JOB_ID
  if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    own="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
  fi
  scontrol requeue "$own" || true
fi
exit "$status"
