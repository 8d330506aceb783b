#!/bin/sh
# Makes a node's root and becomes its PID 1. Runs in new mount, PID, UTS and IPC namespaces (and in the node's
# network namespace), with the host's root and the host's /proc still in sight.
#
#   boot.sh <node directory> <pid file> <host name>
#
# The node directory holds
#   lower           the Debian tree (a symbolic link); upper, work, root: the overlay's own
#   files           copied over the root at every boot
#   binds           "source TAB target" a line: directories of the host that are seen in the node
#   cgroups         "hierarchy's path TAB type TAB group TAB options" a line: where this node's processes belong
set -eu
dir=$1 pid_file=$2 host_name=$3

# Seen through the host's /proc this is the host's number for this process.
read -r pid _ </proc/self/stat
echo "$pid" >"$pid_file"

tab=$(printf '\t')
while IFS="$tab" read -r path _ group _; do
  echo 0 >"$path/$group/cgroup.procs"
done <"$dir/cgroups"

mount --make-rprivate /
mount -t overlay -o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/root"
cd "$dir/root"
rm -rf etc/kcr
cp -a "$dir/files/." .

mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t mqueue mqueue dev/mqueue
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp

while IFS="$tab" read -r path type _ options; do
  target=${path#/}
  # On version 1 every hierarchy is a directory on a tmpfs, with a link for each of its controllers.
  if [ "$path" != /sys/fs/cgroup ]; then
    mountpoint -q sys/fs/cgroup || mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    mkdir -p "$target"
    case ${path##*/} in *,*)
      for controller in $(echo "${path##*/}" | tr , ' '); do ln -s "${path##*/}" "sys/fs/cgroup/$controller"; done ;;
    esac
  fi
  mount -t "$type" ${options:+-o "$options"} cgroup "$target"
done <"$dir/cgroups"

while IFS="$tab" read -r source target; do
  mkdir -p ".$target"
  mount --rbind "$source" ".$target"
done <"$dir/binds"

# The kubelet insists on these values and would set them for the whole machine; let it see them as they should be.
while read -r file value; do
  [ -e "proc/sys/$file" ] || continue
  echo "$value" >"run/sysctl-${file##*/}"
  mount --bind "run/sysctl-${file##*/}" "proc/sys/$file"
done <<VALUES
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
VALUES

echo "$host_name" >proc/sys/kernel/hostname
pivot_root . mnt
exec chroot . /bin/sh /etc/kcr/init.sh </dev/null >>var/log/kcr/init.log 2>&1
