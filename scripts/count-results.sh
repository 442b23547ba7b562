#!/usr/bin/env bash
# Prints `N passed, N failed` from the logs of `make test` and `make verify`.
#
#     count-results.sh RESULT TEST_LOG VERIFY_LOG
#
# Tests are counted from the first log only, since the second runs some of them again; from both logs,
# each step that is not tests counts as one. A failure that nothing of this shows counts as one.

set -euo pipefail

awk -v result="$1" '
    # cargo nextest:  "Summary [ 2.4s] 24 tests run: 23 passed (1 slow), 1 timed out, 0 skipped"
    FILENAME == ARGV[1] && /^ +Summary \[.*\] +[0-9\/]+ tests? run: / {
        line = $0
        sub(/.*\] +/, "", line)
        run = line
        sub(/ tests? run: .*/, "", run)
        sub(/\/.*/, "", run)
        good = line
        sub(/.* tests? run: /, "", good)
        sub(/ passed.*/, "", good)
        tests_passed += good
        tests_failed += run - good
    }
    # cargo test:  "test result: ok. 3 passed; 0 failed; ..."
    FILENAME == ARGV[1] && /^test result: / {
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) tests_passed += $(i - 1)
            if ($i ~ /^failed/) tests_failed += $(i - 1)
        }
    }
    /^== .*: ok \([0-9]+ s\)$/ { steps_passed += ($2 !~ /tests:$/) }
    /^== .*: FAILED \([0-9]+ s\)$/ {
        if ($2 == "tests:") failed_run = 1
        else steps_failed += 1
    }
    END {
        # Tests that did not even run to their summary.
        if (failed_run && !tests_failed) tests_failed = 1
        passed = tests_passed + steps_passed
        failed = tests_failed + steps_failed
        if (result != 0 && !failed) failed = 1
        printf "%d passed, %d failed\n", passed, failed
    }
' "$2" "$3"
