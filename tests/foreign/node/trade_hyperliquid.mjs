// The npm package `hyperliquid`, unpatched, trades on the simulated Hyperliquid over HTTP; its socket needs Node 22.
import { BASE_URLS, Hyperliquid } from "hyperliquid";
import { say, step } from "./trading.mjs";

const [http, , secret, other] = process.argv.slice(2);
BASE_URLS.TESTNET = http; // the package exports its addresses for this
console.log = () => {}; // it prints what it does
const { computeAddress } = await import("ethers");
const user = computeAddress(secret).toLowerCase(), friend = computeAddress(other);
const sdk = new Hyperliquid({ privateKey: secret, testnet: true, enableWs: false });
const coin = "BTC-PERP", first = (answer) => answer.response.data.statuses[0];

await step("connect", () => sdk.connect());
const mids = await step("mids", () => sdk.info.getAllMids(), (found) => found[coin] > 0);
const limit = (factor, size, more = {}) => ({
  coin, is_buy: true, sz: size, limit_px: Math.round(mids[coin] * factor), order_type: { limit: { tif: "Gtc" } }, reduce_only: false, ...more,
});
const placed = await step("place", () => sdk.exchange.placeOrder(limit(0.9, 0.01)), (r) => first(r).resting);
await step("modify", () => sdk.exchange.modifyOrder(first(placed).resting.oid, limit(0.89, 0.02)));
const open = await step("open", () => sdk.info.getUserOpenOrders(user), (orders) => orders.length === 1 && orders[0].sz === 0.02);
await step("cancel", () => sdk.exchange.cancelOrder({ coin, o: open[0].oid }), (r) => first(r) === "success");
await step("market", () => sdk.custom.marketOpen(coin, true, 0.01, undefined, 0.01), (r) => first(r).filled);
await step("leverage", () => sdk.exchange.updateLeverage(coin, "cross", 5));
await step("state", () => sdk.info.perpetuals.getClearinghouseState(user), (r) => r.assetPositions[0].position.leverage.value === 5);
await step("bulk", () => sdk.exchange.placeOrder({ orders: [limit(0.9, 0.01), limit(0.91, 0.01)], grouping: "na" }));
await step("cancel all", () => sdk.custom.cancelAllOrders());
await step("close", () => sdk.custom.marketClose(coin, undefined, undefined, 0.01), (r) => first(r).filled);
await step("fills", () => sdk.info.getUserFills(user), (fills) => fills.length >= 2);
await step("to spot", () => sdk.exchange.transferBetweenSpotAndPerp(5, false));
await step("send", () => sdk.exchange.usdTransfer(friend, 3));
await step("withdraw", () => sdk.exchange.initiateWithdrawal(friend, 10));
await step("agent", () => sdk.exchange.approveAgent({ agentAddress: friend, agentName: "bot" }));
await step("switch", () => sdk.exchange.scheduleCancel(Date.now() + 60_000));
await step("twap", () => sdk.exchange.placeTwapOrder({ coin, is_buy: true, sz: 0.1, reduce_only: false, minutes: 5, randomize: false }));
say({ done: true });
process.exit(0);
