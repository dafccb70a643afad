# shellcheck shell=bash
# Steps of a check: each runs although one before it failed, and the end tells how it went.

steps_failed=0
tests_passed=0
tests_failed=0
tests_skipped=0
steps_left_out=()
# Tests that passed at their second try.
tests_flaky=()

# step NAME COMMAND…
step() {
  local name=$1
  shift
  say "$name"
  "$@" && return 0
  steps_failed=$((steps_failed + 1))
  printf '%s\n' "✗ $name failed" >&2
  return 1
}

# left_out NAME WHY: a step that can't run here counts as skipped, and the end says why.
left_out() {
  tests_skipped=$((tests_skipped + 1))
  steps_left_out+=("$1: $2")
}

# Adds up what nextest ("Summary … 9 tests run: 7 passed, 1 failed, 1 timed out, 2 skipped") or cargo test
# ("test result: ok. 7 passed; 1 failed; 2 ignored; …", once per binary) wrote in the file.
tests_count() {
  local lines
  lines=$(sed 's/\x1b\[[0-9;]*m//g' "$1" | grep -E '^ *Summary \[|^test result: ' || true)
  tests_passed=$((tests_passed + $(sum_of passed)))
  tests_failed=$((tests_failed + $(sum_of failed) + $(sum_of 'timed out')))
  tests_skipped=$((tests_skipped + $(sum_of skipped) + $(sum_of ignored)))
  # nextest lists them once more after its summary.
  mapfile -t tests_flaky < <(sed 's/\x1b\[[0-9;]*m//g' "$1" | sed -n 's/^ *FLAKY [^]]*\] *\(([^)]*) *\)\?//p' | sort -u)
}

# "exec failed" counts as failed: the number stands before the word "exec" then.
sum_of() { grep -oE "[0-9]+ (exec )?$1" <<<"$lines" | awk '{ sum += $1 } END { print sum + 0 }'; }

# The last line is for machines too. A failed step counts as one failure beside those of tests.
steps_summary() {
  local failed=$((tests_failed + steps_failed)) line
  line="$tests_passed passed, $failed failed"
  ((tests_skipped == 0)) || line+=", $tests_skipped skipped"
  ((${#tests_flaky[@]} == 0)) || printf 'passed at the second try: %s\n' "${tests_flaky[@]}"
  ((${#steps_left_out[@]} == 0)) || printf 'skipped: %s\n' "${steps_left_out[@]}"
  echo "$line"
  ((failed == 0 && tests_passed > 0))
}
