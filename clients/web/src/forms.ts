/** Forms and tables, made of the document's own parts. */

import { element } from "./cells";
import { fieldsOf, sentenceOf } from "./failure";

/** Runs what a button or a form asks for: once at a time, and what fails is said beside it. */
export class Deed {
  #running = false;

  constructor(
    private readonly trigger: HTMLElement,
    private readonly status: HTMLElement,
  ) {}

  /** Says something, as good news or bad; empty says nothing. */
  say(text: string, kind: "busy" | "done" | "failed" = "done"): void {
    this.status.textContent = text;
    this.status.dataset["kind"] = kind;
  }

  /** Does something that the reader did not ask for: it holds nothing up, and only a failure is said. */
  async quietly(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!this.#running) this.say(sentenceOf(error), "failed");
    }
  }

  async run(busy: string, work: () => Promise<string>, failed?: (error: unknown) => void): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    this.trigger.setAttribute("aria-disabled", "true");
    this.say(busy, "busy");
    try {
      this.say(await work());
    } catch (error) {
      this.say(sentenceOf(error), "failed");
      failed?.(error);
    } finally {
      this.#running = false;
      this.trigger.removeAttribute("aria-disabled");
    }
  }
}

/** The inputs of a form by their names, which are the paths of the contract's fields. */
export class Fields {
  constructor(private readonly form: HTMLFormElement) {}

  text(name: string): string {
    const found = this.form.elements.namedItem(name);
    return found !== null && "value" in found ? String(found.value).trim() : "";
  }

  checked(name: string): boolean {
    const found = this.form.elements.namedItem(name);
    return found instanceof HTMLInputElement && found.checked;
  }

  set(name: string, value: string): void {
    const found = this.form.elements.namedItem(name);
    if (found instanceof HTMLInputElement || found instanceof HTMLSelectElement) found.value = value;
  }

  /** Marks the fields that a call named as being at fault, and takes older marks away. */
  mark(error: unknown): void {
    const wrong = new Map([...fieldsOf(error)].map(([path, advice]) => [path.split(".").at(-1) ?? path, advice]));
    let first: HTMLElement | null = null;
    for (const input of this.form.querySelectorAll<HTMLElement>("input[name], select[name]")) {
      const name = input.getAttribute("name") ?? "";
      const id = `${input.id}-wrong`;
      document.getElementById(id)?.remove();
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-describedby");
      const advice = wrong.get(name);
      if (advice === undefined) continue;
      const told = document.createElement("span");
      told.id = id;
      told.className = "wrong";
      told.textContent = advice;
      input.after(told);
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", id);
      first ??= input;
    }
    first?.focus();
  }
}

export interface Column<R> {
  readonly title: string;
  readonly number?: boolean;
  readonly cell: (row: R, cell: HTMLTableCellElement) => void;
}

/** A column of text. */
export function textColumn<R>(title: string, say: (row: R) => string, number = false): Column<R> {
  return {
    title,
    number,
    cell: (row, cell) => {
      cell.textContent = say(row);
    },
  };
}

/** Fills a table; rows that are as they were stay as they are, so that a reader's focus does too. */
export class Table<R> {
  readonly #body: HTMLTableSectionElement;
  readonly #shown = new Map<string, { readonly version: string; readonly row: HTMLTableRowElement }>();

  constructor(
    private readonly table: HTMLTableElement,
    private readonly columns: readonly Column<R>[],
    caption: string,
  ) {
    const said = element(table, "caption");
    said.textContent = caption;
    const head = element(element(table, "thead"), "tr");
    for (const column of columns) {
      const cell = element(head, "th", column.number === true ? "number" : "");
      cell.scope = "col";
      cell.textContent = column.title;
    }
    this.#body = element(table, "tbody");
  }

  /** Shows these rows in this order. `version` changes whenever what a row shows does. */
  set(rows: readonly R[], key: (row: R) => string, version: (row: R) => string): void {
    const keys = new Set(rows.map(key));
    for (const [name, shown] of this.#shown) {
      if (keys.has(name)) continue;
      shown.row.remove();
      this.#shown.delete(name);
    }
    let before: Element | null = this.#body.firstElementChild;
    for (const row of rows) {
      const name = key(row);
      let shown = this.#shown.get(name);
      const now = version(row);
      if (shown === undefined || shown.version !== now) {
        const made = this.#make(row, name);
        if (shown !== undefined) {
          if (before === shown.row) before = made;
          shown.row.replaceWith(made);
        }
        shown = { version: now, row: made };
        this.#shown.set(name, shown);
      }
      if (before === shown.row) before = shown.row.nextElementSibling;
      else this.#body.insertBefore(shown.row, before);
    }
    this.table.hidden = rows.length === 0;
  }

  #make(row: R, key: string): HTMLTableRowElement {
    const made = document.createElement("tr");
    made.dataset["key"] = key;
    for (const column of this.columns) column.cell(row, element(made, "td", column.number === true ? "number" : ""));
    return made;
  }
}

/** A button in a cell. */
export function button(parent: Node, words: string, pressed: () => void): HTMLButtonElement {
  const made = element(parent, "button");
  made.type = "button";
  made.textContent = words;
  made.addEventListener("click", pressed);
  return made;
}
