#!/usr/bin/env bash
# Starts a JAX training in several processes of this machine (bash 4.3 or newer), and waits for all:
#
#     bash examples/jax_processes.sh 2 python examples/jax_train.py "train-*.h5"
#
# On several machines, set the same variables on each: the address is that of process 0, and
# KERAS_DISTRIBUTION_PROCESS_ID counts on from machine to machine.
set -eu

count=$1
shift
export KERAS_DISTRIBUTION_JOB_ADDRESSES="${ADDRESS:-localhost:12355}"
export KERAS_DISTRIBUTION_NUM_PROCESSES="$count"

trap 'kill $(jobs -p) 2>/dev/null || :' EXIT  # none is left when one fails, or on Ctrl-C
trap 'exit 130' INT TERM
for ((index = 0; index < count; index++)); do
    KERAS_DISTRIBUTION_PROCESS_ID=$index "$@" &
done
for ((ended = 0; ended < count; ended++)); do
    wait -n
done
