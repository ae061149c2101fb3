"""Speaks Noise with dissononce, one JSON object a line: see peer_test.go."""

import json
import sys

from dissononce.dh.x25519.private import PrivateKey
from dissononce.dh.x25519.public import PublicKey
from dissononce.extras.meta.protocol.factory import NoiseProtocolFactory


class Peer:
    def start(self, protocol, initiator, prologue, s=None, rs=None, psk=None):
        noise = NoiseProtocolFactory().get_noise_protocol(protocol)
        self.initiator = initiator
        self.ciphers = None
        self.handshake = noise.create_handshakestate()
        self.handshake.initialize(
            noise.pattern,
            initiator,
            prologue,
            s=noise.dh.generate_keypair(PrivateKey(s)) if s else None,
            rs=PublicKey(rs) if rs else None,
            psks=(psk,) if psk else None,
        )
        return {}

    def write(self, payload):
        message = bytearray()
        self.ciphers = self.handshake.write_message(payload, message)
        return {"message": message}

    def read(self, message):
        payload = bytearray()
        self.ciphers = self.handshake.read_message(message, payload)
        return {"payload": payload}

    def finish(self):
        first, second = self.ciphers
        self.sending, self.receiving = (first, second) if self.initiator else (second, first)
        rs = self.handshake.rs
        return {
            "hash": self.handshake.symmetricstate.get_handshake_hash(),
            "remote": rs.data if rs else b"",
        }

    def encrypt(self, ad, plaintext):
        return {"ciphertext": self.sending.encrypt_with_ad(ad, plaintext)}

    def decrypt(self, ad, ciphertext):
        return {"plaintext": self.receiving.decrypt_with_ad(ad, ciphertext)}

    def rekey(self, nonce):
        # Its own rekey() keeps the tag that REKEY cuts off (Noise 4.2).
        key = self.receiving.cipher.rekey(self.receiving._key)
        self.receiving.initialize_key(key[:32])
        self.receiving.set_nonce(nonce)
        return {}


def main():
    peer = Peer()
    for line in sys.stdin:
        request = json.loads(line)
        op = request.pop("op")
        plain = ("protocol", "initiator", "nonce")
        args = {k: v if k in plain else bytes.fromhex(v) for k, v in request.items()}
        try:
            answer = {k: bytes(v).hex() for k, v in getattr(peer, op)(**args).items()}
        except Exception as e:
            answer = {"error": type(e).__name__ + ": " + str(e)}
        print(json.dumps(answer), flush=True)


main()
