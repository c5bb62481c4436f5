#!/usr/bin/env bash
# A part of the smoke study on a cluster of one machine: `make test-slurm`. munge and Slurm listen on
# the loopback, keep all state in a folder of their own, and end with the script, however it ends.
set -euo pipefail

fail() { echo "test-slurm: $*" >&2; exit 1; }

ROOT=$(realpath "$(dirname "$0")/..")
PYTHON=$(realpath -s "${1:-$ROOT/.venv/bin/python}")
PATH=$PATH:/usr/sbin
for program in munged slurmctld slurmd sbatch; do
    command -v $program > /dev/null ||
        fail "$program is missing; on Debian and Ubuntu: apt-get install slurm-wlm munge"
done
"$PYTHON" -c 'import snakemake_executor_plugin_slurm' 2> /dev/null ||
    fail "Snakemake's plugin is missing: pip install -r envs/slurm.txt"

STATE=$(mktemp -d)
export SLURM_CONF=$STATE/slurm.conf
finish() {
    code=$?
    set +e
    trap '' EXIT INT TERM
    # Daemons, runs and jobs: all that has this folder in its environment.
    kill -KILL $(grep -lzs "$STATE" /proc/[0-9]*/environ | cut -d / -f 3) 2> /dev/null
    wait 2> /dev/null
    case $code in 0 | 130) rm -r "$STATE" ;; *) echo "test-slurm: failed; see $STATE" >&2 ;; esac
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM
chmod 755 "$STATE"
mkdir -m 755 "$STATE"/{bin,munge,profile,spool,state,work}

# One node of this machine's cores; memory is counted, not held. Any device serves as a GPU.
HOST=$(hostname -s) USER=$(id -un) PORT=$((20000 + $$ % 20000))
for gpu in 0 1; do ln -s /dev/null "$STATE/gpu$gpu"; done
echo "NodeName=$HOST Name=gpu Flags=nvidia_gpu_env File=$STATE/gpu[0-1]" > "$STATE/gres.conf"
cat > "$SLURM_CONF" << END
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
SlurmUser=$USER
SlurmdUser=$USER
AuthInfo=socket=$STATE/munge/socket
StateSaveLocation=$STATE/state
SlurmdSpoolDir=$STATE/spool
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
GresTypes=gpu
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=32000 Gres=gpu:2
PartitionName=debug Nodes=$HOST Default=YES
PartitionName=all Nodes=$HOST
END
(umask 077 && head -c 128 /dev/urandom > "$STATE/munge/key")
munged --foreground --key-file "$STATE/munge/key" --socket "$STATE/munge/socket" \
    --pid-file "$STATE/munge/pid" --log-file "$STATE/munge/log" --seed-file "$STATE/munge/seed" \
    &> "$STATE/munged.log" &
while [ ! -S "$STATE/munge/socket" ] && kill -0 $! 2> /dev/null; do sleep 0.2; done
for daemon in slurmctld slurmd; do
    $daemon -D &> "$STATE/$daemon.log" &
done
for _ in {1..30}; do
    sinfo --noheader --format %t 2> /dev/null | grep -q idle && break || sleep 1
done
sinfo --format "%N %t %c %m %G"

# What sbatch is given, one line for each rule.
cat > "$STATE/bin/sbatch" << END
#!/bin/sh
printf '%s\n' "\$*" | sed -n '1s/ --wrap=.*//; 1s/_wildcards_/ /; 1s/^.*--comment rule_/sbatch … /p' >> $STATE/sbatch.log
exec $(command -v sbatch) "\$@"
END
# The plugin takes SLURM_CONF from the environment of what a job starts.
printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$STATE/bin/srun"
chmod 755 "$STATE"/bin/*
PATH=$STATE/bin:$PATH
# The folder is none of the code's: jobs find code and Python by themselves.
cd "$STATE/work"
export PYTHONPATH=$ROOT
"$PYTHON" -m tests.generate_amazon --folder generated --users 60 --items 60 --seed 0
unset PYTHONPATH
# A part of it: each job on a cluster costs two starts of Snakemake.
cat > part.yaml << END
experiments:
  - {backbones: [tiny], datasets: [generated], objectives: [plain, cft], decoders: [constrained], seeds: [0]}
methods:
  - {label: D3, objective: plain, decoder: constrained}
  - {label: D3 + CFT, objective: cft, decoder: constrained, base: D3}
sensitivity: []
history_length: []
baseline_seeds: [0]
END
STUDY=(--snakefile "$ROOT/Snakefile" --configfile "$ROOT/config/smoke.yaml" part.yaml)
sed 's/# \(- slurm_partition=\)"PARTITION"/\1"all"/' "$ROOT/profiles/slurm/config.yaml" \
    > "$STATE/profile/config.yaml"
study() {
    exec "$PYTHON" -m snakemake "${STUDY[@]}" --workflow-profile "$STATE/profile" \
        --slurm-init-seconds-before-status-checks 2 --printshellcmds "$@"
}

echo "== Two jobs that ask for a GPU each"
for _ in 1 2; do
    srun --gpus=1 --ntasks=1 --chdir "$ROOT" "$PYTHON" -m scripts.gpu 1 \
        sh -c 'echo $CUDA_VISIBLE_DEVICES; sleep 5' >> "$STATE/given" &
    RUNS+=($!)
done
wait "${RUNS[@]}"
echo "given: $(sort "$STATE/given" | xargs)"
[ "$(sort "$STATE/given" | xargs)" = "0 1" ] || fail "the jobs did not get GPUs of their own"

echo "== A training that is cancelled after its first epoch"
MODEL=results/cancelled/models/generated/tiny/plain/seed-0
study $MODEL/run.json --set-resources finetune:gpu=2 --config study=cancelled device=cpu \
    'backbones={tiny: {training: {epochs: 40, patience: 40}}}' &> "$STATE/cancelled.log" &
RUN=$!
until compgen -G "$MODEL.checkpoints/*/checkpoint-*/trainer_state.json" > /dev/null; do
    kill -0 $RUN 2> /dev/null || fail "the training did not begin: $STATE/cancelled.log"
    sleep 1
done
squeue --format "%i %T %M %k"
scancel "$(squeue --noheader --format "%i %k" | sed -n 's/ rule_finetune.*//p')"
wait $RUN || fail "the run did not go on: $STATE/cancelled.log"
grep -E "SLURM-job|Trying to restart|submitted with" "$STATE/cancelled.log"
grep finetune "$STATE/sbatch.log"
grep '"resumed": true' $MODEL/run.json || fail "the training did not resume"

echo "== The study to its report, with one training of each objective"
study --set-resources sequential:gpu=1 --config device=cpu &> "$STATE/study.log" &
RUN=$!
wait $RUN || fail "the study failed: $STATE/study.log"
grep -v analysis_ "$STATE/sbatch.log" | sort -u -t ' ' -k 3,3
cat results/smoke/summary.txt
[ -s results/smoke/report.html ] || fail "no report"
! grep -v -e ' -p all ' "$STATE/sbatch.log" || fail "the profile's partition was not used"
"$PYTHON" -m snakemake "${STUDY[@]}" --workflow-profile "$ROOT/profiles/default" --dry-run \
    --config device=cpu 2>&1 | grep "Nothing to be done" ||
    fail "what the cluster made is made again without it"
