'use strict';

// A second implementation of the Noise protocols of docs/SPEC.md §1, written
// from that text alone for the sake of those with hybrid forward secrecy, which
// no library has. X25519, ciphers and HMAC are OpenSSL's, ML-KEM-768 is
// noble-post-quantum's. It is a yardstick for tests, not for use.

const crypto = require('crypto');
const { ml_kem768 } = require('@noble/post-quantum/ml-kem');
const serve = require('./lines');

const KEM_KEY = 1184;
const KEM_CIPHERTEXT = 1088;
const TAG = 16;
const empty = Buffer.alloc(0);

// Message patterns with the tokens of hfs where §1 puts them.
const scripts = {
  XX: ['e', 'e ee s es', 's se'],
  IK: ['e es s ss', 'e ee se'],
  NK: ['e es', 'e ee'],
  NN: ['e', 'e ee'],
  XXhfs: ['e e1', 'e ee ekem1 s es', 's se'],
  IKhfs: ['e es e1 s ss', 'e ee ekem1 se'],
  NKhfs: ['e es e1', 'e ee ekem1'],
  'NNhfs+psk0': ['psk e e1', 'e ee ekem1'],
  'XXhfs+psk3': ['e e1', 'e ee ekem1 s es', 's se psk'],
};

const hmac = (key, ...data) => {
  const h = crypto.createHmac('sha256', key);
  data.forEach((d) => h.update(d));
  return h.digest();
};

const hash = (...data) => {
  const h = crypto.createHash('sha256');
  data.forEach((d) => h.update(d));
  return h.digest();
};

function hkdf(salt, material, outputs) {
  const prk = hmac(salt, material);
  const out = [];
  for (let i = 1; i <= outputs; i++) {
    out.push(hmac(prk, out.length ? out[i - 2] : empty, Buffer.from([i])));
  }
  return out;
}

// X25519 through OpenSSL, which wants DER around the 32 bytes.
const pkcs8 = Buffer.from('302e020100300506032b656e04220420', 'hex');
const spki = Buffer.from('302a300506032b656e032100', 'hex');

function keyPair(seed = crypto.randomBytes(32)) {
  const key = crypto.createPrivateKey({ key: Buffer.concat([pkcs8, seed]), format: 'der', type: 'pkcs8' });
  const der = crypto.createPublicKey(key).export({ format: 'der', type: 'spki' });
  return { key, public: der.subarray(spki.length) };
}

function dh(pair, other) {
  const publicKey = crypto.createPublicKey({ key: Buffer.concat([spki, other]), format: 'der', type: 'spki' });
  return crypto.diffieHellman({ privateKey: pair.key, publicKey });
}

class Cipher {
  constructor(name, key) {
    this.name = name;
    this.key = key;
    this.n = 0n;
  }

  nonce(n) {
    const nonce = Buffer.alloc(12);
    if (this.name === 'AESGCM') nonce.writeBigUInt64BE(n, 4);
    else nonce.writeBigUInt64LE(n, 4);
    return nonce;
  }

  create(make, n) {
    const name = this.name === 'AESGCM' ? 'aes-256-gcm' : 'chacha20-poly1305';
    return make(name, this.key, this.nonce(n), { authTagLength: TAG });
  }

  seal(n, ad, plaintext) {
    const c = this.create(crypto.createCipheriv, n);
    c.setAAD(ad, { plaintextLength: plaintext.length });
    const body = c.update(plaintext);
    return Buffer.concat([body, c.final(), c.getAuthTag()]);
  }

  encrypt(ad, plaintext) {
    return this.seal(this.n++, ad, plaintext);
  }

  decrypt(ad, ciphertext) {
    const body = ciphertext.subarray(0, ciphertext.length - TAG);
    const c = this.create(crypto.createDecipheriv, this.n);
    c.setAAD(ad, { plaintextLength: body.length });
    c.setAuthTag(ciphertext.subarray(ciphertext.length - TAG));
    const plaintext = Buffer.concat([c.update(body), c.final()]);
    this.n++;
    return plaintext;
  }

  rekey() {
    this.key = this.seal(2n ** 64n - 1n, empty, Buffer.alloc(32)).subarray(0, 32);
  }
}

class Handshake {
  // ephemeral, kemSeed and kemRandomness are for vectors only.
  constructor({ protocol, initiator, prologue, s, rs, psk, ephemeral, kemSeed, kemRandomness }) {
    const [, name, , cipher] = protocol.split('_');
    if (!scripts[name]) throw new Error('unknown pattern');
    this.messages = scripts[name].map((m) => m.split(' '));
    this.pskMode = name.includes('psk');
    this.cipherName = cipher;
    this.initiator = initiator;
    this.s = s ? keyPair(s) : null;
    this.rs = rs || null;
    this.psk = psk;
    this.fixed = { ephemeral, kemSeed, kemRandomness };
    this.h = protocol.length <= 32 ? Buffer.concat([Buffer.from(protocol)], 32) : hash(protocol);
    this.ck = this.h;
    this.cipher = null;
    this.mixHash(prologue);
    if (name[1] === 'K') this.mixHash(initiator ? this.rs : this.s.public);
  }

  mixHash(data) {
    this.h = hash(this.h, data);
  }

  mixKey(material) {
    const [ck, key] = hkdf(this.ck, material, 2);
    this.ck = ck;
    this.cipher = new Cipher(this.cipherName, key);
  }

  mixKeyAndHash(material) {
    const [ck, extra, key] = hkdf(this.ck, material, 3);
    this.ck = ck;
    this.mixHash(extra);
    this.cipher = new Cipher(this.cipherName, key);
  }

  encryptAndHash(plaintext) {
    const ciphertext = this.cipher ? this.cipher.encrypt(this.h, plaintext) : Buffer.from(plaintext);
    this.mixHash(ciphertext);
    return ciphertext;
  }

  decryptAndHash(ciphertext) {
    const plaintext = this.cipher ? this.cipher.decrypt(this.h, ciphertext) : Buffer.from(ciphertext);
    this.mixHash(ciphertext);
    return plaintext;
  }

  // What both sides do for the tokens that are not sent.
  mix(token) {
    if (token === 'psk') return this.mixKeyAndHash(this.psk);
    if (token === 'ee') return this.mixKey(dh(this.e, this.re));
    if (token === 'ss') return this.mixKey(dh(this.s, this.rs));
    if ((token === 'es') === this.initiator) return this.mixKey(dh(this.e, this.rs));
    return this.mixKey(dh(this.s, this.re));
  }

  mixEphemeral(publicKey) {
    this.mixHash(publicKey);
    if (this.pskMode) this.mixKey(publicKey);
  }

  write(payload) {
    const out = [];
    for (const token of this.messages.shift()) {
      if (token === 'e') {
        this.e = keyPair(this.fixed.ephemeral);
        out.push(this.e.public);
        this.mixEphemeral(this.e.public);
      } else if (token === 's') {
        out.push(this.encryptAndHash(this.s.public));
      } else if (token === 'e1') {
        this.kem = ml_kem768.keygen(this.fixed.kemSeed || new Uint8Array(crypto.randomBytes(64)));
        out.push(this.encryptAndHash(this.kem.publicKey));
      } else if (token === 'ekem1') {
        const { cipherText, sharedSecret } = ml_kem768.encapsulate(this.rkem, this.fixed.kemRandomness);
        out.push(this.encryptAndHash(cipherText));
        this.mixKey(sharedSecret);
      } else {
        this.mix(token);
      }
    }
    out.push(this.encryptAndHash(payload));
    return Buffer.concat(out);
  }

  read(message) {
    let rest = Buffer.from(message);
    const take = (n) => {
      if (rest.length < n) throw new Error('short message');
      const part = rest.subarray(0, n);
      rest = rest.subarray(n);
      return part;
    };
    const open = (n) => this.decryptAndHash(take(this.cipher ? n + TAG : n));
    for (const token of this.messages.shift()) {
      if (token === 'e') {
        this.re = take(32);
        this.mixEphemeral(this.re);
      } else if (token === 's') {
        this.rs = open(32);
      } else if (token === 'e1') {
        this.rkem = new Uint8Array(open(KEM_KEY));
      } else if (token === 'ekem1') {
        const ciphertext = new Uint8Array(open(KEM_CIPHERTEXT));
        this.mixKey(ml_kem768.decapsulate(ciphertext, this.kem.secretKey));
      } else {
        this.mix(token);
      }
    }
    return this.decryptAndHash(rest);
  }
}

// The key that a counter has under the rekeying rule (§4, §5).
function keyOf(counter, cipher, key) {
  const c = new Cipher(cipher, key);
  for (let epoch = 0; epoch < Math.floor(counter / 65536); epoch++) c.rekey();
  c.n = BigInt(counter);
  return c;
}

// What both forms of a session are made from (§4, §5).
function secretsOf({ ck, h }) {
  const [i2r, r2i] = hkdf(ck, empty, 2);
  const prk = hmac('securesp/1 packet', ck);
  const stream = [];
  for (let i = 1; i <= 3; i++) stream.push(hmac(prk, stream.length ? stream[i - 2] : empty, h, Buffer.from([i])));
  const out = Buffer.concat(stream);
  return {
    i2r,
    r2i,
    packetI2R: out.subarray(0, 32),
    packetR2I: out.subarray(32, 64),
    indexI: out.subarray(64, 68),
    indexR: out.subarray(68, 72),
  };
}

let handshake, sending, receiving;
serve({
  start(request) {
    handshake = new Handshake(request);
  },
  write({ payload }) {
    return { message: handshake.write(payload) };
  },
  read({ message }) {
    return { payload: handshake.read(message) };
  },
  finish() {
    const [first, second] = hkdf(handshake.ck, empty, 2).map((key) => new Cipher(handshake.cipherName, key));
    [sending, receiving] = handshake.initiator ? [first, second] : [second, first];
    return { hash: handshake.h, remote: handshake.rs || empty };
  },
  secrets() {
    return secretsOf(handshake);
  },
  record({ counter, type, plaintext }) {
    const { i2r, r2i } = secretsOf(handshake);
    const header = Buffer.alloc(3);
    header.writeUInt16BE(1 + plaintext.length + TAG);
    header[2] = type;
    const cipher = keyOf(counter, handshake.cipherName, handshake.initiator ? i2r : r2i);
    return { record: Buffer.concat([header, cipher.encrypt(header, plaintext)]) };
  },
  packet({ counter, plaintext }) {
    const { packetI2R, packetR2I, indexI, indexR } = secretsOf(handshake);
    const header = Buffer.alloc(12);
    (handshake.initiator ? indexR : indexI).copy(header);
    header.writeBigUInt64BE(BigInt(counter), 4);
    const cipher = keyOf(counter, handshake.cipherName, handshake.initiator ? packetI2R : packetR2I);
    return { packet: Buffer.concat([header, cipher.encrypt(header, plaintext)]) };
  },
  encrypt({ ad, plaintext }) {
    return { ciphertext: sending.encrypt(ad, plaintext) };
  },
  decrypt({ ad, ciphertext }) {
    return { plaintext: receiving.decrypt(ad, Buffer.from(ciphertext)) };
  },
  rekey({ nonce }) {
    receiving.rekey();
    receiving.n = BigInt(nonce);
  },
});
