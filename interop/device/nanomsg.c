/* A device on nanomsg: it forwards between two raw sockets what comes in on
 * either.
 *
 *     nanomsg PATTERN URL URL
 *
 * It binds to both addresses and prints "ready". It ends with its input. */

#include <nanomsg/bus.h>
#include <nanomsg/nn.h>
#include <nanomsg/pair.h>
#include <nanomsg/pipeline.h>
#include <nanomsg/pubsub.h>
#include <nanomsg/reqrep.h>
#include <nanomsg/survey.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	int front, back;
} patterns[] = {
	{ "reqrep", NN_REP, NN_REQ },
	{ "pipeline", NN_PULL, NN_PUSH },
	{ "pubsub", NN_SUB, NN_PUB },
	{ "survey", NN_RESPONDENT, NN_SURVEYOR },
	{ "pair", NN_PAIR, NN_PAIR },
	{ "bus", NN_BUS, NN_BUS },
};

static int front, back;

static int check(int rv, const char *what)
{
	if (rv < 0) {
		fprintf(stderr, "%s: %s\n", what, nn_strerror(nn_errno()));
		exit(1);
	}
	return rv;
}

static void *forward(void *unused)
{
	check(nn_device(front, back), "nn_device");
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
		fprintf(stderr, "usage: nanomsg PATTERN URL URL\n");
		return 2;
	}
	front = check(nn_socket(AF_SP_RAW, patterns[i].front), "open");
	back = check(nn_socket(AF_SP_RAW, patterns[i].back), "open");
	if (patterns[i].front == NN_SUB)
		check(nn_setsockopt(front, NN_SUB, NN_SUB_SUBSCRIBE, "", 0), "subscribe");
	check(nn_bind(front, argv[2]), argv[2]);
	check(nn_bind(back, argv[3]), argv[3]);
	if (pthread_create(&thread, NULL, forward, NULL) != 0)
		return 1;
	printf("ready\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	_Exit(0);
}
