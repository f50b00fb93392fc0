/** The page at `/`: all markets in a table and one of them opened beside it, and the reader's own views. */

import { Accounts } from "./accounts";
import { byId, element } from "./cells";
import { MarketTable } from "./market_table";
import { plain, signedIn, watchPrices, type PriceEvent } from "./mesh";
import { gapWords, linkWords, Panel } from "./panel";
import { QuoteView } from "./quote_view";
import { Session } from "./session";
import { Sessions } from "./sessions";
import { SignIn } from "./sign_in";
import { TradeView } from "./trade_view";
import { readHash, showView, type View } from "./views";
import { Watch, type Link } from "./watch";
import { counted, sourceBanner } from "./words";

const NOTICES_MAX = 20;
/** A hidden page gives its streams up after this long: browsers allow one host few connections at a time. */
const HIDDEN_MS = 30_000;
const PANEL_MS = 500;

const status = byId("status", HTMLElement);
const retry = byId("retry", HTMLButtonElement);
const banner = byId("banner", HTMLElement);
const count = byId("count", HTMLOutputElement);
const none = byId("none", HTMLElement);
const filter = byId("filter", HTMLInputElement);
const notices = byId("notices", HTMLOListElement);
const noticesSection = byId("notices-section", HTMLElement);

function setText(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

function notice(text: string): void {
  const item = element(notices, "li");
  const time = element(item, "time");
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString();
  item.append(` ${text}`);
  while (notices.children.length > NOTICES_MAX) notices.firstElementChild?.remove();
  noticesSection.hidden = false;
}

function arranged(): void {
  const now = table.summary();
  const parts = [now.shown === now.markets ? counted(now.markets, "market") : `${now.shown} of ${counted(now.markets, "market")}`];
  parts.push(counted(now.venues, "venue"));
  if (now.notLive > 0) parts.push(`${counted(now.notLive, "market")} with a venue that is not live`);
  if (now.crossed > 0) parts.push(`${now.crossed} crossed`);
  setText(count, now.markets === 0 ? "" : parts.join(" · "));
  none.hidden = now.markets === 0 || now.shown > 0;
  const said = sourceBanner(table.sources());
  setText(banner, said);
  banner.hidden = said === "";
}

const panel = new Panel(notice);
const table = new MarketTable(
  byId("prices", HTMLTableElement),
  (market) => {
    window.location.hash = encodeURIComponent(market);
  },
  () => arranged(),
);

const session = new Session(plain, (who, why) => {
  signIn.show(who, why);
  if (who === null) trade.clear();
  void offer();
  enter();
});
const signIn = new SignIn(session);
const own = signedIn(session.bearer);
const sessions = new Sessions(own);
const accounts = new Accounts(
  own,
  (address) => signIn.wallet(address),
  (found) => trade.setAccounts(found),
);
const quote = new QuoteView(own, notice);
const trade = new TradeView(own, notice);
const marketNames = byId("market-names", HTMLDataListElement);
let shown: View | null = null;

let lastLiveMs: number | null = null;

function showLink(link: Link): void {
  const live = link.kind === "live";
  if (!live && status.dataset["link"] === "live") lastLiveMs = Date.now();
  const since = lastLiveMs === null || live ? "" : ` Values are those of ${new Date(lastLiveMs).toLocaleTimeString()}.`;
  status.dataset["link"] = link.kind;
  setText(status, live ? "Live." : `${linkWords(link)}${since}`);
  retry.hidden = link.kind !== "waiting" && link.kind !== "stopped";
  table.setConnected(live);
}

const prices = new Watch<PriceEvent>(watchPrices, {
  opened: (fresh) => {
    if (fresh) table.beginPresent();
  },
  live: (fresh) => {
    if (fresh) table.endPresent();
    table.setOpen(panel.market);
  },
  link: showLink,
  ended: (end) => notice(`The server ended the stream: ${end.reason}: ${end.message}`),
  event: (event) => {
    if (event.case === "gap") notice(gapWords("Prices", event.value));
    else table.put(event.case === "price" ? [event.value] : event.value.prices, performance.now());
    return null;
  },
});

function follow(): void {
  const { view, market } = readHash(window.location.hash);
  if (view !== shown) {
    showView(view, shown !== null);
    shown = view;
    enter();
  }
  // A view keeps the market that is open beside the table.
  if (view !== "markets" || window.location.hash === "#markets" || market === (panel.market ?? "")) return;
  const before = panel.market;
  if (market === "") panel.close();
  else panel.open(market);
  document.body.classList.toggle("with-panel", market !== "");
  table.setOpen(panel.market);
  if (market === "" && before !== null) {
    document.querySelector<HTMLElement>(`tbody[data-market="${CSS.escape(before)}"] button`)?.focus();
  }
}

/** Brings what a view shows up to date, when it comes into sight or another reader signs in. */
function enter(): void {
  const names = table.markets();
  if (shown !== "markets" && marketNames.children.length !== names.length) {
    marketNames.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  if (shown === "quote") quote.enter(panel.market);
  else quote.leave();
  if (shown === "trade" && session.who !== null) {
    trade.enter(panel.market);
    void accounts.load();
  } else trade.leave();
  if (shown === "account") {
    if (session.who === null) {
      sessions.clear();
      accounts.clear();
    } else {
      void sessions.load();
      void accounts.load();
    }
  }
}

function closePanel(): void {
  if (panel.market === null || shown !== "markets") return;
  window.history.pushState(null, "", window.location.pathname + window.location.search);
  follow();
}

filter.addEventListener("input", () => table.setFilter(filter.value));
byId("tools", HTMLFormElement).addEventListener("submit", (event) => event.preventDefault());
retry.addEventListener("click", () => prices.start());
byId("panel-close", HTMLButtonElement).addEventListener("click", closePanel);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.activeElement !== filter) closePanel();
});
window.addEventListener("hashchange", follow);
window.addEventListener("popstate", follow);
window.addEventListener("online", resume);

function pause(): void {
  prices.pause();
  panel.pause();
}

function resume(): void {
  window.clearTimeout(hiding);
  prices.start();
  panel.resume();
}

let hiding: number | undefined;
document.addEventListener("visibilitychange", () => {
  window.clearTimeout(hiding);
  if (document.hidden) hiding = window.setTimeout(pause, HIDDEN_MS);
  else resume();
});
// A page that is left may be kept by the browser, with its streams, in case the reader comes back.
window.addEventListener("pagehide", pause);
window.addEventListener("pageshow", (event) => {
  if (event.persisted) resume();
});

window.setInterval(() => {
  const price = panel.market === null ? undefined : table.price(panel.market);
  if (price !== undefined) panel.setPrice(price);
}, PANEL_MS);

/** Shows the links of what this mesh serves. */
async function offer(): Promise<void> {
  const link = (view: View): HTMLElement | null => document.querySelector<HTMLElement>(`#views a[href="#${view}"]`);
  const [quotes, trades] = [link("quote"), link("trade")];
  if (quotes !== null) quotes.hidden = !(await quote.served());
  if (trades === null) return;
  const wasHidden = trades.hidden;
  trades.hidden = session.who === null || !(await trade.served());
  if (wasHidden && !trades.hidden && shown === "trade") enter();
}

prices.start();
follow();
void offer();
