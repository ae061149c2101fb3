'use strict';

// Serves requests to the methods of peer, one JSON object a line: see
// peer_test.go.
module.exports = function serve(peer) {
  const plain = new Set(['op', 'protocol', 'initiator', 'nonce', 'counter', 'type']);
  const lines = require('readline').createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    const request = JSON.parse(line);
    for (const key of Object.keys(request)) {
      if (!plain.has(key)) {
        request[key] = new Uint8Array(Buffer.from(request[key], 'hex'));
      }
    }
    const answer = {};
    try {
      const result = peer[request.op](request) || {};
      for (const [key, value] of Object.entries(result)) {
        answer[key] = Buffer.from(value).toString('hex');
      }
    } catch (e) {
      answer.error = String((e && e.message) || e);
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
  });
};
