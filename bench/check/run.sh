#!/usr/bin/env bash
# The checkers beside Porcupine, in process; README.md says what is measured.
#
#   bench/check/run.sh                     all, about forty minutes: most of it is Porcupine's searches that do not end
#   bench/check/run.sh --etcd DIR          recorded runs of a compare-and-set register too
#   bench/check/run.sh --quick             verdicts alone, on small histories
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/run.py" "$@"
