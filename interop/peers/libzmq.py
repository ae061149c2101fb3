"""A ZeroMQ socket of libzmq that does what it is told, for zmq_test.go.

One JSON object a line comes in on standard input and one goes out on standard
output for each; bytes are base64. An error ends the program.
"""

import base64
import json
import sys

import zmq
from zmq.auth import create_certificates, load_certificate
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

TIMEOUT = 20_000  # milliseconds; a test that waits longer has failed

HANDSHAKE_EVENTS = {
    int(event): event.name
    for event in (
        zmq.Event.HANDSHAKE_SUCCEEDED,
        zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
        zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
        zmq.Event.HANDSHAKE_FAILED_AUTH,
    )
}


class Peer:
    def __init__(self):
        self.context = zmq.Context()
        self.authenticator = None

    def allow(self, directory):
        """Authorise, by ZAP, the clients with a certificate in directory."""
        self.authenticator = ThreadAuthenticator(self.context)
        self.authenticator.start()
        self.authenticator.configure_curve(domain="*", location=directory)
        return {}

    def open(self, type, certificate, server=None, address=None):
        """Make the socket: a CURVE server if no server key is given. It
        connects to address, or is bound to a free port without one."""
        self.socket = self.context.socket(getattr(zmq, type))
        self.socket.linger = 0
        self.socket.rcvtimeo = self.socket.sndtimeo = TIMEOUT
        self.socket.curve_publickey, self.socket.curve_secretkey = load_certificate(certificate)
        if server is None:
            self.socket.curve_server = True
        else:
            self.socket.curve_serverkey = server.encode()
        events = 0
        for event in HANDSHAKE_EVENTS:
            events |= event
        self.monitor = self.socket.get_monitor_socket(events)
        self.monitor.rcvtimeo = TIMEOUT
        if address is not None:
            self.socket.connect("tcp://" + address)
            return {}
        return {"port": self.socket.bind_to_random_port("tcp://127.0.0.1")}

    def certify(self, directory):
        """Make a key and write its certificates made.key and
        made.key_secret."""
        create_certificates(directory, "made", {"name": "pyzmq"})
        return {}

    def event(self):
        """Wait for the next handshake to succeed or fail."""
        message = recv_monitor_message(self.monitor)
        return {"event": HANDSHAKE_EVENTS[int(message["event"])], "value": message["value"]}

    def send(self, parts):
        self.socket.send_multipart([base64.b64decode(p) for p in parts])
        return {}

    def receive(self):
        parts = self.socket.recv_multipart()
        return {"parts": [base64.b64encode(p).decode() for p in parts]}

    def version(self):
        return {"version": zmq.zmq_version()}


peer = Peer()
for line in sys.stdin:
    command = json.loads(line)
    reply = getattr(peer, command.pop("do"))(**command)
    print(json.dumps(reply), flush=True)
if peer.authenticator is not None:
    peer.authenticator.stop()
peer.context.destroy(linger=0)
