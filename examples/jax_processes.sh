#!/bin/sh
# Starts a JAX training in several processes of this machine, and ends when all have ended:
#
#     sh examples/jax_processes.sh 2 python examples/jax_train.py "train-*.h5"
#
# On several machines, set the same variables on each: the address is that of process 0, and
# KERAS_DISTRIBUTION_PROCESS_ID counts on from machine to machine.
set -eu

count=$1
shift
export KERAS_DISTRIBUTION_JOB_ADDRESSES="${ADDRESS:-localhost:12355}"
export KERAS_DISTRIBUTION_NUM_PROCESSES="$count"

started=""
trap 'kill $started 2>/dev/null || :' EXIT  # when one fails, or on Ctrl-C, the others end too
for index in $(seq 0 $((count - 1))); do
    KERAS_DISTRIBUTION_PROCESS_ID="$index" "$@" &
    started="$started $!"
done
for process in $started; do
    wait "$process"
done
