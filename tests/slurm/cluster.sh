#!/usr/bin/env bash
# A SLURM of two nodes with two pretended GPUs each on this machine: `cluster.sh start DIR`, `cluster.sh stop DIR`.
# Needs root, and Debian's packages slurm-wlm and munge, which `start` installs. Clients find it by SLURM_CONF=DIR/slurm.conf.
set -euo pipefail
command="$1"
dir="$(mkdir -p "$2" && cd "$2" && pwd)"
export SLURM_CONF="$dir/slurm.conf"

install_packages() {
  command -v slurmctld slurmd munged >/dev/null && return
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends slurm-wlm munge >/dev/null
}

write_configuration() {
  read -r memory < <(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
  cat >"$SLURM_CONF" <<EOF
ClusterName=test
SlurmctldHost=$(hostname)
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=3
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmctldPidFile=$dir/slurmctld.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdSpoolDir=$dir/spool.%n
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmdLogFile=$dir/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
JobRequeue=1
MaxArraySize=101
# seconds: tests wait for these
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=1
KillWait=2
MinJobAge=600
NodeName=node1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=16821 CPUs=4 RealMemory=$((memory / 2)) Gres=gpu:2 State=UNKNOWN
NodeName=node2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=16822 CPUs=4 RealMemory=$((memory / 2)) Gres=gpu:2 State=UNKNOWN
PartitionName=test Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
EOF
  printf "Name=gpu File=%s\n" /dev/zero /dev/full >"$dir/gres.conf"  # files that are there, and that nobody opens
  echo "CgroupPlugin=autodetect" >"$dir/cgroup.conf"
}

start() {
  install_packages
  mkdir -p "$dir/state"
  write_configuration
  chmod 755 "$dir"
  dd if=/dev/urandom of="$dir/munge.key" bs=128 count=1 status=none
  chmod 400 "$dir/munge.key"
  munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munged.seed"
  slurmctld -c
  slurmd -N node1 -c
  slurmd -N node2 -c
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --format="%D %t" 2>/dev/null)" = "2 idle" ] && return
    sleep 0.5
  done
  tail -n 5 "$dir"/*.log >&2
  exit 1
}

stop() {
  for name in slurmd.node1 slurmd.node2 slurmctld munged; do
    [ -e "$dir/$name.pid" ] && kill "$(cat "$dir/$name.pid")" || true
  done
}

"$command"
