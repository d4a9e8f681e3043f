// An MLLP receiver that reads an ORU as node-hl7-client does, escapes and all, and answers AA.
//
// usage: node unescaping_receiver.cjs PORT
// Prints one JSON line per message: for each OBX its type (OBX-2) and its text (OBX-5; of an ED, OBX-5.5).
'use strict';
const { Message } = require('node-hl7-client');
const { Server } = require('node-hl7-server');

const listener = new Server({ bindAddress: '127.0.0.1' });
listener.createInbound({ port: Number(process.argv[2]) }, async (request, response) => {
  const message = new Message({ text: request.getMessage().toString() });
  const rows = [];
  message.get('OBX').forEach((row) => {
    const type = row.get('2').toString();
    rows.push([type, row.get(type === 'ED' ? '5.5' : '5').toString()]);
  });
  console.log(JSON.stringify(rows));
  await response.sendResponse('AA');
});
