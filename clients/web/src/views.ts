/** The views of the page, by the words of its address; every other word after the `#` is a market. */

import { byId } from "./cells";

export const VIEWS = ["markets", "quote", "trade", "account"] as const;
export type View = (typeof VIEWS)[number];

export interface Shown {
  readonly view: View;
  /** The market that is opened; empty for none. */
  readonly market: string;
}

/** Reads the part of an address after its `#`. */
export function readHash(hash: string): Shown {
  let word = "";
  try {
    word = decodeURIComponent(hash.replace(/^#/, ""));
  } catch {
    // A hash that is no text names nothing.
  }
  const view = VIEWS.find((one) => one === word);
  return view === undefined ? { view: "markets", market: word } : { view, market: "" };
}

const sections = new Map(VIEWS.map((view) => [view, byId(view, HTMLElement)]));
const links = new Map(
  [...document.querySelectorAll<HTMLAnchorElement>("#views a")].map((link) => [readHash(link.hash).view, link]),
);

/** Shows one view and hides the others; whoever uses a keyboard or listens goes on in what is shown. */
export function showView(view: View, moved: boolean): void {
  for (const [name, section] of sections) section.hidden = name !== view;
  for (const [name, link] of links) {
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.body.dataset["view"] = view;
  if (moved) sections.get(view)?.focus({ preventScroll: true });
}
