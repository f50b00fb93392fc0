/** Writing to the page only what has changed. */

/** A piece of text on the page. */
export class TextSlot {
  #node: Text;
  #shown = "";

  constructor(parent: Node) {
    this.#node = parent.appendChild(document.createTextNode(""));
  }

  set(value: string): void {
    if (value === this.#shown) return;
    this.#shown = value;
    this.#node.data = value;
  }
}

/** An attribute of an element; the empty text takes it away. */
export class AttributeSlot {
  #shown = "";

  constructor(
    private readonly element: Element,
    private readonly name: string,
  ) {}

  set(value: string): void {
    if (value === this.#shown) return;
    this.#shown = value;
    if (value === "") this.element.removeAttribute(this.name);
    else this.element.setAttribute(this.name, value);
  }
}

/** Makes an element with a class, inside a parent. */
export function element<K extends keyof HTMLElementTagNameMap>(
  parent: Node,
  tag: K,
  className = "",
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (className !== "") made.className = className;
  parent.appendChild(made);
  return made;
}

/** Finds an element that the page has by its id. */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} with the id ${id}`);
  return found;
}
