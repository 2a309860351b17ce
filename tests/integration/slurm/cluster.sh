#!/usr/bin/env bash
# A SLURM of two nodes with two pretended GPUs each on this machine: cluster.sh start DIR, cluster.sh stop DIR.
# Needs root and Debian's packages slurm-wlm and munge, which `start` installs where they are missing. Then:
# SLURM_TEST_CLUSTER=DIR python -m pytest tests/integration/slurm; by hand, SLURM_CONF=DIR/slurm.conf squeue
set -euo pipefail
command="$1"
dir="$(mkdir -p "$2" && cd "$2" && pwd)"
export SLURM_CONF="$dir/slurm.conf"

install_packages() {
  command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null && return
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends slurm-wlm munge >/dev/null
}

# ports that hardly meet another's, and short waits: a requeued job waits for cred_expire seconds (120 where they are less
# than 5), a signalled one for KillWait
write_configuration() {
  local port=$((20000 + $$ % 10000))
  cat >"$SLURM_CONF" <<EOF
ClusterName=test
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=6
StateSaveLocation=$dir/state
SlurmctldPidFile=$dir/slurmctld.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdSpoolDir=$dir/spool.%n
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmdLogFile=$dir/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=1
KillWait=2
MinJobAge=600
NodeName=DEFAULT CPUs=4 RealMemory=1000 Gres=gpu:2
NodeName=node1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$((port + 1))
NodeName=node2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$((port + 2))
PartitionName=test Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
EOF
  printf "Name=gpu File=%s\n" /dev/zero /dev/full >"$dir/gres.conf" # files that exist, and that nobody opens
  echo "CgroupPlugin=autodetect" >"$dir/cgroup.conf"
}

start() {
  [ "$(id -u)" = 0 ] || { echo "a SLURM for tests needs root" >&2; exit 1; }
  install_packages
  trap stop ERR
  write_configuration
  mkdir -p "$dir/state"
  chmod 755 "$dir" # munged refuses sockets that others cannot reach
  (umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
  munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munged.seed"
  slurmctld
  slurmd -N node1
  slurmd -N node2
  for _ in $(seq 120); do
    [ "$(sinfo --noheader --format="%D %t" 2>/dev/null)" = "2 idle" ] && return
    sleep 0.5
  done
  tail -n 5 "$dir"/*.log >&2
  stop
  exit 1
}

stop() {
  for name in slurmd.node1 slurmd.node2 slurmctld munged; do
    if [ -e "$dir/$name.pid" ]; then kill "$(cat "$dir/$name.pid")" || true; fi
  done
}

"$command"
