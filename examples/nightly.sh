#!/usr/bin/env bash
# An unattended run: at most 40 model calls a turn and 5 USD in all; what a rule wants asked is refused.
#
#     MODEL=anthropic/claude-opus-5-5 examples/nightly.sh "Retrain on yesterday's data, report the metrics"
set -u
thread="nightly-$(date +%Y%m%d)"
options=(--model "${MODEL:?name a model}" --approve deny --max-iterations 40 --quiet)
case "$MODEL" in
    scripted/* | ollama/* | vllm/* | lm_studio/* | llamacpp/*) ;; # these cost nothing
    *) options+=(--max-cost 5) ;;
esac

ml-intern "${options[@]}" --thread "$thread" "$1"
code=$?
if [ "$code" -eq 3 ]; then
    # A limit: one more turn of 40 calls in the same thread. The cap of 5 USD stays.
    ml-intern "${options[@]}" --resume "$thread"
    code=$?
fi
case "$code" in
    0) echo "done; see: ml-intern history $thread" >&2 ;;
    3) echo "a limit ended it; go on with: ml-intern -r $thread" >&2 ;;
    4) echo "it waits for an approval: ml-intern approve $thread" >&2 ;;
    *) echo "it failed with exit code $code; go on with: ml-intern -r $thread" >&2 ;;
esac
exit "$code"
