#!/bin/sh
# PID 1 of a node: keeps the programs of /etc/kcr/services running, and ends the node on SIGTERM.
#
# A program that ends is started again, unless /run/kcr/<name>.stopped is there; its number is in
# /run/kcr/<name>.pid, its output in /var/log/kcr/<name>.log.
umount -l /mnt
mount --make-rshared /
exec </dev/null >>/var/log/kcr/init.log 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for dir in /opt/kcr/*/; do PATH=$dir:$PATH; done
mkdir -p /run/kcr
cd /
# The network namespace is older than this boot.
nft flush ruleset

say() { echo "$(date -Is) $*"; }

supervise() {
  while [ ! -e /run/kcr/stopping ]; do
    if [ -e "/run/kcr/$1.stopped" ]; then
      sleep 0.2
      continue
    fi
    say "starting $1"
    sh "/etc/kcr/services/$1" >>"/var/log/kcr/$1.log" 2>&1 &
    echo $! >"/run/kcr/$1.pid"
    wait $!
    say "$1 ended with $?"
    rm -f "/run/kcr/$1.pid"
    sleep 0.5
  done
}

# The kubelet goes first, so that it does not take what follows for crashing containers.
stop() {
  say "stopping"
  touch /run/kcr/stopping
  if [ -e /run/kcr/kubelet.pid ]; then
    kill -TERM "$(cat /run/kcr/kubelet.pid)"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      [ -e /run/kcr/kubelet.pid ] || break
      sleep 0.2
    done
  fi
  kill -TERM -1
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    set -- /proc/[0-9]*
    [ $# -gt 1 ] || break
    sleep 0.2
  done
  say "stopped"
  exit 0
}
trap stop TERM

for service in /etc/kcr/services/*; do
  supervise "${service##*/}" &
done
say "started"
# Waiting is what reaps the orphans that fall to PID 1.
while :; do
  wait
  sleep 1
done
