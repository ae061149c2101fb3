/* A device on nng: it forwards between two raw sockets what comes in on either.
 *
 *     nng PATTERN URL URL
 *
 * It listens on both addresses and prints "ready". It ends with its input. */

#include <nng/nng.h>
#include <nng/protocol/bus0/bus.h>
#include <nng/protocol/pair0/pair.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/protocol/survey0/respond.h>
#include <nng/protocol/survey0/survey.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	int (*front)(nng_socket *), (*back)(nng_socket *);
} patterns[] = {
	{ "reqrep", nng_rep0_open_raw, nng_req0_open_raw },
	{ "pipeline", nng_pull0_open_raw, nng_push0_open_raw },
	{ "pubsub", nng_sub0_open_raw, nng_pub0_open_raw },
	{ "survey", nng_respondent0_open_raw, nng_surveyor0_open_raw },
	{ "pair", nng_pair0_open_raw, nng_pair0_open_raw },
	{ "bus", nng_bus0_open_raw, nng_bus0_open_raw },
};

static nng_socket front, back;

static void check(int rv, const char *what)
{
	if (rv != 0) {
		fprintf(stderr, "%s: %s\n", what, nng_strerror(rv));
		exit(1);
	}
}

static void *forward(void *unused)
{
	check(nng_device(front, back), "nng_device");
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	size_t i;

	for (i = 0; i < sizeof patterns / sizeof *patterns; i++)
		if (argc == 4 && strcmp(argv[1], patterns[i].name) == 0)
			break;
	if (i == sizeof patterns / sizeof *patterns) {
		fprintf(stderr, "usage: nng PATTERN URL URL\n");
		return 2;
	}
	check(patterns[i].front(&front), "open");
	check(patterns[i].back(&back), "open");
	check(nng_listen(front, argv[2], NULL, 0), argv[2]);
	check(nng_listen(back, argv[3], NULL, 0), argv[3]);
	if (pthread_create(&thread, NULL, forward, NULL) != 0)
		return 1;
	printf("ready\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	_Exit(0);
}
