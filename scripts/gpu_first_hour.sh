#!/usr/bin/env bash
# The first hour on a GPU, from the root of a checkout: bash scripts/gpu_first_hour.sh [FOLDER]
# Writes what this machine is, whether the GPU computes what the CPU does, and how fast, to one folder to send back:
# summary.txt, and a log for each step. A step that fails stops nothing. Without a GPU it says what it skips and runs the
# rest on miniatures. SMALL=1 takes miniatures on a GPU too. Needs data for nothing: videos are generated.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-gpu_first_hour}")
mkdir -p "$out"
summary=$out/summary.txt
: >"$summary"
gpu=0
python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null && gpu=1
small=${SMALL:-$((1 - gpu))}
export PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore

say() { echo "$*" | tee -a "$summary"; }
step() { # NAME SECONDS COMMAND ..: its log in NAME.log, how it ended and its last lines in the summary
  local name=$1 limit=$2 begin=$SECONDS code=0
  shift 2
  timeout "$limit" "$@" >"$out/$name.log" 2>&1 || code=$?
  if [ "$code" -eq 0 ]; then say "ok      $name ($((SECONDS - begin)) s)"; else say "FAILED  $name (status $code, $((SECONDS - begin)) s)"; fi
  tail -n "${LINES_SHOWN:-3}" "$out/$name.log" | sed 's/^/        /' | tee -a "$summary"
}
gpu_step() { if [ "$gpu" = 1 ]; then step "$@"; else say "skipped $1: there is no GPU"; fi; }

{
  git rev-parse HEAD 2>/dev/null
  python -c 'import sys, torch; print(sys.version); print(torch.__config__.show()); print(torch.cuda.is_available())'
  python -m pip freeze 2>/dev/null | grep -iE '^(torch|triton|lightning|timm|numpy|av)[=-]'
  nvidia-smi 2>&1
  lscpu 2>/dev/null | head -20
} >"$out/environment.txt" 2>&1
say "revision $(git rev-parse --short HEAD 2>/dev/null), GPU: $gpu, miniatures: $small"

# 1. What the GPU computes: kernels against the plain form in float64; without one, by Triton's interpreter. Then every
# network against the CPU, a training step of each, and video methods as replayed CUDA graphs
if [ "$gpu" = 1 ]; then
  step kernels 600 python -m tests.support.triton_cases cuda
else
  TRITON_INTERPRET=1 step kernels 600 python -m tests.support.triton_cases cpu
fi
gpu_step networks 900 python -m tests.support.gpu_cases

# 2. How fast local attention is: Triton, shifted maps, FlexAttention, and the time to move the memory once
arguments=()
[ "$small" = 1 ] && arguments+=(--small)
LINES_SHOWN=12 step local_attention 900 python -m scripts.benchmarks.local_attention_gpu ${arguments[@]+"${arguments[@]}"}

# 3. AR-Seg over constant resolution, network alone
size=(input.height=720 input.width=960 rounds=10)
[ "$small" = 1 ] && size=(input.height=96 input.width=128 rounds=1 warmup=1)
for network in pspnet18_camvid bisenet18 timm; do
  for precision in fp32 bf16; do
    [ "$small" = 1 ] && [ "$network$precision" != bisenet18fp32 ] && continue
    step "benchmark_${network}_$precision" 600 python -m src.benchmark model=arseg "network=$network" num_classes=11 \
      "${size[@]}" "precision=$precision" "hydra.run.dir=$out/benchmark_${network}_$precision"
  done
done

# 4. A short training in each precision, then evaluation and prediction with its weights; samples/s is in the log
limits=(+limits.max_epochs=1 +limits.check_val_every_n_epoch=1 +limits.limit_val_batches=2)
limits+=("+limits.limit_train_batches=$((small ? 2 : 100))" "paths.cache=$out/cache")
train=(python -m src.train experiment=arseg_street "${limits[@]}")
step train_default 900 "${train[@]}" "hydra.run.dir=$out/train_default"
for precision in 32-true 16-mixed bf16-mixed; do
  gpu_step "train_$precision" 600 "${train[@]}" "trainer.precision=$precision" model.phases.constant=null \
    "hydra.run.dir=$out/train_$precision"
done
gpu_step train_compiled 900 "${train[@]}" compile=inductor model.phases.constant=null "hydra.run.dir=$out/train_compiled"
weights=$out/train_default/low/checkpoints/last.ckpt
step eval 600 python -m src.eval "checkpoint=$weights" "paths.cache=$out/cache" "hydra.run.dir=$out/eval"
video=$(find "$out/cache" -name '*.mp4' 2>/dev/null | head -1)
step predict 300 python -m src.predict "checkpoint=$weights" "source=$video" "output=$out/predict"
LINES_SHOWN=8 gpu_step training_rate 900 python -m scripts.benchmarks.training --rounds 3

rm -rf "$out/cache" "$out"/train_*/*/checkpoints
say "all of it is in $out; send that folder"
