// <tenantry-usage token="…" src="https://app.example.com"> shows usage bars in any front end.
// It needs no library, no inline style and no inline script, so it works under a strict policy.
const sheet = new CSSStyleSheet();
sheet.replaceSync(`
  :host { display: block; font: inherit; color: inherit; container-type: inline-size; }
  ul { list-style: none; margin: 0; padding: 0; display: grid; gap: .9em; }
  .head { display: flex; justify-content: space-between; gap: 1em; }
  .count { opacity: .75; font-variant-numeric: tabular-nums; }
  .track { height: .55em; border-radius: 1em; background: color-mix(in srgb, currentColor 14%, transparent); overflow: hidden; }
  .fill { height: 100%; border-radius: 1em; background: var(--tenantry-accent, #1f6f5c); }
  .fill[data-full] { background: var(--tenantry-full, #a3262a); }
  p { margin: 0; }
`);

const names = { images: "Images", tts_ms: "Speech", render_ms: "Video", storage_bytes: "Storage" };

function amount(units, unit) {
  if (units === null) return "unlimited";
  if (unit === "ms") return `${(units / 60000).toLocaleString(undefined, { maximumFractionDigits: 1 })} min`;
  if (unit === "byte") return `${(units / 1e9).toLocaleString(undefined, { maximumFractionDigits: 2 })} GB`;
  return units.toLocaleString();
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

class TenantryUsage extends HTMLElement {
  static observedAttributes = ["token", "src", "every"];
  #timer;
  #root = this.attachShadow({ mode: "open" });

  connectedCallback() {
    this.#root.adoptedStyleSheets = [sheet];
    this.setAttribute("role", "group");
    if (!this.hasAttribute("aria-label")) this.setAttribute("aria-label", "Usage");
    this.refresh();
    const seconds = Math.max(10, Number(this.getAttribute("every")) || 60);
    this.#timer = setInterval(() => this.refresh(), seconds * 1000);
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
  }

  attributeChangedCallback() {
    if (this.isConnected) this.refresh();
  }

  async refresh() {
    const base = this.getAttribute("src") ?? new URL(import.meta.url).origin;
    const token = this.getAttribute("token");
    try {
      const answer = await fetch(new URL("/api/usage", base), {
        headers: token ? { authorization: `Bearer ${token}` } : {},
        credentials: token ? "omit" : "same-origin",
      });
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.title ?? "The usage cannot be shown");
      this.#show(body.meters);
      this.dispatchEvent(new CustomEvent("usage", { detail: body }));
    } catch (error) {
      const text = element("p", "", error instanceof TypeError ? "The usage cannot be reached" : error.message);
      text.setAttribute("role", "status");
      this.#root.replaceChildren(text);
    }
  }

  #show(meters) {
    const list = element("ul");
    for (const meter of meters) {
      const row = element("li");
      const head = element("div", "head");
      const title = names[meter.meter] ?? meter.meter;
      const count = `${amount(meter.used, meter.unit)} of ${amount(meter.limit, meter.unit)}`;
      head.append(element("span", "", title), element("span", "count", count));
      const percent = Math.min(100, Math.max(meter.used > 0 ? 1 : 0, meter.percent ?? 0));
      const track = element("div", "track");
      track.setAttribute("role", "meter");
      track.setAttribute("aria-label", title);
      track.setAttribute("aria-valuemin", "0");
      track.setAttribute("aria-valuemax", "100");
      track.setAttribute("aria-valuenow", String(percent));
      track.setAttribute("aria-valuetext", count);
      const fill = element("div", "fill");
      fill.style.width = `${percent}%`;
      if (meter.remaining === 0) fill.dataset.full = "";
      track.append(fill);
      row.append(head, track);
      list.append(row);
    }
    this.#root.replaceChildren(list);
  }
}

if (!customElements.get("tenantry-usage")) customElements.define("tenantry-usage", TenantryUsage);
