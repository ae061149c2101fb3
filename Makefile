# The one check is .ci/run. Give the benchmark's flags as ARGS.

.PHONY: bench check
bench:
	go run -C bench . $(ARGS)

check:
	.ci/run
