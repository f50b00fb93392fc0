// @nktkas/hyperliquid, unpatched, trades on the simulated Hyperliquid: `node trade_nktkas.mjs <http> <ws> <secret> <other>`.
// It checks every answer's status itself and throws where an order's own status is an error.
import * as hl from "@nktkas/hyperliquid";
import { Wallet } from "ethers";
import WebSocket from "ws";
import { say, step, until } from "./trading.mjs";

globalThis.WebSocket ??= WebSocket; // Node 20 has none of its own
const [http, ws, secret, other] = process.argv.slice(2);
const wallet = new Wallet(secret), agent = new Wallet(other);
const socket = new hl.WebSocketTransport({ url: ws, isTestnet: true });
const transport = new hl.HttpTransport({ apiUrl: http, isTestnet: true });
const info = new hl.InfoClient({ transport }), infoWs = new hl.InfoClient({ transport: socket });
const exchange = new hl.ExchangeClient({ transport, wallet }), overSocket = new hl.ExchangeClient({ transport: socket, wallet });
const subscriptions = new hl.SubscriptionClient({ transport: socket });
const user = wallet.address, dollar = "USDC:0x6d1e7cde53ba9467b783cb7c530ce054", day = Date.now() - 86_400_000;

const heard = {};
const channels = {
  allMids: undefined, bbo: { coin: "BTC" }, l2Book: { coin: "BTC" }, trades: { coin: "BTC" }, activeAssetCtx: { coin: "BTC" },
  candle: { coin: "BTC", interval: "1m" }, allDexsAssetCtxs: undefined, assetCtxs: {}, activeAssetData: { coin: "BTC", user },
  allDexsClearinghouseState: { user }, clearinghouseState: { user }, openOrders: { user }, orderUpdates: { user }, spotState: { user },
  twapStates: { user }, userEvents: { user }, userFills: { user }, userFundings: { user }, userHistoricalOrders: { user },
  userNonFundingLedgerUpdates: { user }, userTwapHistory: { user }, userTwapSliceFills: { user }, webData3: { user },
};
for (const [name, fields] of Object.entries(channels)) {
  const listen = (data) => { (heard[name] ??= []).push(data); };
  await step(`subscribe ${name}`, () => (fields ? subscriptions[name](fields, listen) : subscriptions[name](listen)));
}
const questions = {
  meta: undefined, metaAndAssetCtxs: undefined, allPerpMetas: undefined, perpDexs: undefined, spotMeta: undefined,
  spotMetaAndAssetCtxs: undefined, exchangeStatus: undefined, predictedFundings: undefined, l2Book: { coin: "BTC" },
  candleSnapshot: { coin: "BTC", interval: "1h", startTime: day }, fundingHistory: { coin: "BTC", startTime: day },
  recentTrades: { coin: "BTC" }, marginTable: { id: 56 }, perpDexLimits: { dex: "xyz" }, maxMarketOrderNtls: undefined,
  userFees: { user }, userRateLimit: { user }, userRole: { user }, extraAgents: { user }, portfolio: { user },
  subAccounts: { user }, referral: { user }, userAbstraction: { user }, activeAssetData: { user, coin: "BTC" },
  spotClearinghouseState: { user }, maxBuilderFee: { user, builder: agent.address }, delegatorSummary: { user },
};
for (const [name, fields] of Object.entries(questions)) await step(`ask ${name}`, () => info[name](fields));

const btc = (await info.meta()).universe.findIndex((asset) => asset.name === "BTC");
const mid = Number((await info.allMids()).BTC), at = (factor) => `${Math.round(mid * factor)}`;
const limit = (factor, tif = "Gtc", more = {}) => ({ a: btc, b: true, p: at(factor), s: "0.01", r: false, t: { limit: { tif } }, ...more });
const place = (...orders) => exchange.order({ orders, grouping: "na" });
const exit = (factor, tpsl) => ({ ...limit(factor), b: false, r: true, t: { trigger: { isMarket: true, triggerPx: at(factor), tpsl } } });
const cloid = `0x${"0f".repeat(16)}`, first = (answer) => answer.response.data.statuses[0];

const placed = await step("place", () => place(limit(0.9, "Gtc", { c: cloid })), (r) => first(r).resting.cloid === cloid);
await step("modify", () => exchange.modify({ oid: first(placed).resting.oid, order: limit(0.89, "Gtc", { c: cloid }) }));
await step("status", () => info.orderStatus({ user, oid: cloid }), (r) => r.order.status === "open");
await step("cancel by cloid", () => exchange.cancelByCloid({ cancels: [{ asset: btc, cloid }] }), (r) => first(r) === "success");
await step("fill over the socket", () => overSocket.order({ orders: [limit(1.01, "Ioc")], grouping: "na" }), (r) => first(r).filled);
await step("bulk", () => place(limit(0.91), limit(0.92, "Alo")));
const open = await step("open orders", () => info.openOrders({ user }), (r) => r.length === 2);
await step("batch modify", () => exchange.batchModify({ modifies: open.map((o, i) => ({ oid: o.oid, order: limit(0.87 + i / 100) })) }));
const moved = await step("moved orders", () => info.frontendOpenOrders({ user }), (r) => r.length === 2);
await step("cancel", () => exchange.cancel({ cancels: moved.map((o) => ({ a: btc, o: o.oid })) }));
await step("group", () => exchange.order({ orders: [limit(0.9), exit(1.2, "tp"), exit(0.8, "sl")], grouping: "normalTpsl" }));
await step("leverage", () => exchange.updateLeverage({ asset: btc, isCross: true, leverage: 5 }));
await step("switch", () => exchange.scheduleCancel({ time: Date.now() + 60_000 }));
await step("switch off", () => exchange.scheduleCancel());
await step("twap", () => exchange.twapOrder({ twap: { a: btc, b: true, s: "0.1", r: false, m: 5, t: false } }));
await step("agent", () => exchange.approveAgent({ agentAddress: agent.address, agentName: "bot" }));
const asAgent = new hl.ExchangeClient({ transport, wallet: agent });
await step("agent's order", () => asAgent.order({ orders: [limit(0.9)], grouping: "na" }), (r) => first(r).resting);
await step("builder", () => exchange.approveBuilderFee({ maxFeeRate: "0.01%", builder: agent.address }));
await step("builder's order", () => exchange.order({ orders: [limit(1.01, "Ioc")], grouping: "na", builder: { b: agent.address.toLowerCase(), f: 10 } }));
await step("send", () => exchange.usdSend({ destination: agent.address, amount: "3" }));
await step("to spot", () => exchange.usdClassTransfer({ amount: "5", toPerp: false }));
await step("to a dex", () => exchange.sendAsset({ destination: user, sourceDex: "", destinationDex: "xyz", token: dollar, amount: "5", fromSubAccount: "" }));
await step("sub-account", () => exchange.createSubAccount({ name: "second" }));
await step("withdraw", () => exchange.withdraw3({ destination: agent.address, amount: "10" }));
await step("expiring", () => exchange.order({ orders: [limit(0.9)], grouping: "na" }, { expiresAfter: Date.now() + 5_000 }));
await step("refused", () => place(limit(0.9, "Gtc", { s: "0.00001" })).then(() => "accepted", (error) => error.message), (r) => r.includes("minimum value of $10"));
await step("fills", () => info.userFillsByTime({ user, startTime: 0 }), (r) => r.length >= 2 && r.every((fill) => fill.coin === "BTC"));
await step("slices", () => info.userTwapSliceFillsByTime({ user, startTime: 0 }), (r) => r.length > 0);
await step("state", () => infoWs.clearinghouseState({ user }), (r) => r.assetPositions[0].position.leverage.value === 5);
await step("all channels speak", async () => {
  const silent = () => Object.keys(channels).filter((name) => !(name in heard));
  await until(() => silent().length === 0, () => `silent: ${silent()}`);
});
say({ done: true });
process.exit(0);
