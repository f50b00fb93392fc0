// A client as anyone would write it with grpc-js: the contract is read from the descriptor set, nothing is generated.
//
// node client.mjs <host:port> <descriptor set> <market>
//
// It makes unary calls, follows prices and the order book until its standard input ends, and prints one JSON object:
// what it was answered, what it was refused, and every state it held, by sequence number.

import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [edge, descriptors, market] = process.argv.slice(2);
const options = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };
const contract = grpc.loadPackageDefinition(
  loader.loadFileDescriptorSetFromBuffer(readFileSync(descriptors), options),
);
const client = new contract.perpmesh.marketdata.v1.MarketDataService(edge, grpc.credentials.createInsecure());

function unary(method, request) {
  return new Promise((resolve) => {
    client[method](request, { deadline: Date.now() + 10_000 }, (error, answer) => {
      if (error === null) resolve({ answer });
      else {
        const details = error.metadata.get("grpc-status-details-bin");
        resolve({ code: grpc.status[error.code], message: error.details, details: details.map((one) => one.toString("base64")) });
      }
    });
  });
}

const said = { prices: {}, books: {}, trades: [], counts: { prices: 0, deltas: 0, live: 0 }, faults: [], ends: {} };

function follow(method, request, take) {
  const stream = client[method](request);
  stream.on("data", (message) => {
    if (message.event === "live") said.counts.live += 1;
    else if (message.event === "gap" || message.event === "end") said.faults.push(message);
    else if (message.event !== "heartbeat") take(message);
  });
  stream.on("error", (error) => (said.ends[method] = grpc.status[error.code]));
  return stream;
}

const book = { bids: new Map(), asks: new Map(), sequence: "" };

function change(side, levels) {
  for (const level of levels) {
    if (level.size === "0") book[side].delete(level.price);
    else book[side].set(level.price, level.size);
  }
}

function keepBook() {
  said.books[book.sequence] = { bids: Object.fromEntries(book.bids), asks: Object.fromEntries(book.asks) };
}

said.price = await unary("GetPrice", { market });
said.unknown = await unary("GetPrice", { market: "NOSUCH-PERP" });
said.wrong = await unary("GetPrice", { market: "no such name" });
said.unserved = await new Promise((resolve) => {
  const empty = () => Buffer.alloc(0);
  const call = "/perpmesh.marketdata.v1.MarketDataService/GetMoon";
  client.makeUnaryRequest(call, empty, empty, {}, (error) => resolve(error === null ? "OK" : grpc.status[error.code]));
});

const streams = [
  follow("WatchPrices", { markets: [market] }, (message) => {
    said.counts.prices += 1;
    said.prices[message.price.sequence] = message.price;
  }),
  follow("WatchOrderBook", { market }, (message) => {
    if (message.event === "snapshot") {
      book.bids.clear();
      book.asks.clear();
      change("bids", message.snapshot.bids);
      change("asks", message.snapshot.asks);
      book.sequence = message.snapshot.sequence;
    } else {
      const delta = message.delta;
      if (delta.previous_sequence !== book.sequence) said.faults.push(`${delta.previous_sequence} after ${book.sequence}`);
      change("bids", delta.bids);
      change("asks", delta.asks);
      book.sequence = delta.sequence;
      said.counts.deltas += 1;
      if (book.bids.size !== delta.bid_level_count || book.asks.size !== delta.ask_level_count) {
        said.faults.push(`after ${book.sequence}: ${book.bids.size} bids, ${book.asks.size} asks`);
      }
    }
    keepBook();
  }),
  follow("WatchTrades", { markets: [market], replay_count: 50 }, (message) => said.trades.push(message.trade)),
];

console.error("following");
process.stdin.resume();
process.stdin.on("end", () => {
  for (const stream of streams) stream.cancel();
  setTimeout(() => {
    client.close();
    process.stdout.write(JSON.stringify(said), () => process.exit(0));
  }, 200);
});
