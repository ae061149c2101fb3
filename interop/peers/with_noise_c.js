'use strict';

// Speaks Noise with noise-c, compiled to WebAssembly.

const serve = require('./lines');

require('noise-c.wasm')((noise) => {
  const { NOISE_ROLE_INITIATOR, NOISE_ROLE_RESPONDER } = noise.constants;
  let handshake, sending, receiving;
  serve({
    start({ protocol, initiator, prologue, s, rs, psk }) {
      handshake = new noise.HandshakeState(protocol, initiator ? NOISE_ROLE_INITIATOR : NOISE_ROLE_RESPONDER);
      handshake.Initialize(prologue, s || null, rs || null, psk || null);
    },
    write({ payload }) {
      return { message: handshake.WriteMessage(payload) };
    },
    read({ message }) {
      return { payload: handshake.ReadMessage(message, true) };
    },
    finish() {
      const result = { hash: handshake.GetHandshakeHash(), remote: handshake.GetRemotePublicKey() || [] };
      [sending, receiving] = handshake.Split();
      return result;
    },
    encrypt({ ad, plaintext }) {
      return { ciphertext: sending.EncryptWithAd(ad, plaintext) };
    },
    decrypt({ ad, ciphertext }) {
      return { plaintext: receiving.DecryptWithAd(ad, ciphertext) };
    },
  });
});
