// The chat page and the widget: they ask POST /chat and show the streamed answer with its sources.
// Whatever a model or a document says is data: it becomes text nodes, never markup.

const STRINGS = {
  en: {
    greeting: "Ask a question. The answer comes from the documents that are loaded here, with its sources.",
    question: "Your question", send: "Send", stop: "Stop", newChat: "New chat", copy: "Copy", copied: "Copied",
    sources: "Sources", you: "You", assistant: "Answer", key: "API key", open: "Open", changeKey: "Change key",
    keyWanted: "Enter the API key that you were given. It is kept until you close this tab.",
    wrongKey: "This API key is not valid. Please check it.", tooLong: "Your question is too long. At most {0} characters are allowed.",
    tooMany: "Too many questions. Please try again in a moment.", modelDown: "The language model is not available at the moment.",
    modelHint: "If you run this server: start Ollama and pull the model, or answer without one (answer.provider: extractive).",
    nothingLoaded: "No documents have been loaded for this key yet.",
    loadHint: "If you run this server: orbit ingest FOLDER --collection NAME.",
    trouble: "The server cannot answer at the moment. Please try again later.",
    offline: "The server cannot be reached. Please check your connection.", cut: "The answer was cut off.",
    stopped: "Stopped.", again: "Try again", thinking: "Answer is being written", newTab: "opens in a new tab",
    busy: "Many people are asking right now. Please try again in a moment.",
    wait: "You can try again in {0}.",
    slow: "Still waiting: many people are asking, or the model is being loaded.",
    good: "Good answer", bad: "Bad answer", comment: "What was wrong? (optional)", submit: "Submit comment", thanks: "Thank you.",
    notRated: "Your rating could not be sent.",
  },
  de: {
    greeting: "Stellen Sie eine Frage. Die Antwort kommt aus den hier geladenen Dokumenten, mit ihren Quellen.",
    question: "Ihre Frage", send: "Senden", stop: "Anhalten", newChat: "Neues Gespräch", copy: "Kopieren", copied: "Kopiert",
    sources: "Quellen", you: "Sie", assistant: "Antwort", key: "API-Schlüssel", open: "Öffnen", changeKey: "Schlüssel ändern",
    keyWanted: "Geben Sie Ihren API-Schlüssel ein. Er wird behalten, bis Sie diesen Tab schließen.",
    wrongKey: "Dieser API-Schlüssel ist ungültig. Bitte prüfen Sie ihn.", tooLong: "Ihre Frage ist zu lang. Möglich sind höchstens {0} Zeichen.",
    tooMany: "Zu viele Fragen. Bitte versuchen Sie es gleich noch einmal.", modelDown: "Das Sprachmodell ist zurzeit nicht verfügbar.",
    modelHint: "Falls Sie diesen Server betreiben: Starten Sie Ollama und laden Sie das Modell, oder antworten Sie ohne (answer.provider: extractive).",
    nothingLoaded: "Für diesen Schlüssel sind noch keine Dokumente geladen.",
    loadHint: "Falls Sie diesen Server betreiben: orbit ingest ORDNER --collection NAME.",
    trouble: "Der Server kann zurzeit nicht antworten. Bitte versuchen Sie es später.",
    offline: "Der Server ist nicht erreichbar. Bitte prüfen Sie Ihre Verbindung.", cut: "Die Antwort wurde abgebrochen.",
    stopped: "Angehalten.", again: "Noch einmal", thinking: "Die Antwort wird geschrieben", newTab: "öffnet in neuem Tab",
    busy: "Gerade fragen sehr viele. Bitte versuchen Sie es gleich noch einmal.",
    wait: "In {0} können Sie es noch einmal versuchen.",
    slow: "Noch etwas Geduld: Gerade fragen viele, oder das Modell wird geladen.",
    good: "Gute Antwort", bad: "Schlechte Antwort", comment: "Was war falsch? (freiwillig)", submit: "Kommentar abschicken", thanks: "Danke.",
    notRated: "Ihre Bewertung konnte nicht gesendet werden.",
  },
  fr: {
    greeting: "Posez une question. La réponse vient des documents chargés ici, avec ses sources.",
    question: "Votre question", send: "Envoyer", stop: "Arrêter", newChat: "Nouvelle discussion", copy: "Copier", copied: "Copié",
    sources: "Sources", you: "Vous", assistant: "Réponse", key: "Clé d’API", open: "Ouvrir", changeKey: "Changer de clé",
    keyWanted: "Saisissez la clé d’API que vous avez reçue. Elle est conservée jusqu’à la fermeture de l’onglet.",
    wrongKey: "Cette clé d’API n’est pas valable. Veuillez la vérifier.", tooLong: "Votre question est trop longue. {0} caractères au plus sont possibles.",
    tooMany: "Trop de questions. Veuillez réessayer dans un instant.", modelDown: "Le modèle de langue n’est pas disponible pour le moment.",
    modelHint: "Si vous gérez ce serveur : démarrez Ollama et téléchargez le modèle, ou répondez sans modèle (answer.provider: extractive).",
    nothingLoaded: "Aucun document n’a encore été chargé pour cette clé.",
    loadHint: "Si vous gérez ce serveur : orbit ingest DOSSIER --collection NOM.",
    trouble: "Le serveur ne peut pas répondre pour le moment. Veuillez réessayer plus tard.",
    offline: "Le serveur est injoignable. Veuillez vérifier votre connexion.", cut: "La réponse a été interrompue.",
    stopped: "Arrêté.", again: "Réessayer", thinking: "La réponse est en cours d’écriture", newTab: "s’ouvre dans un nouvel onglet",
    busy: "Beaucoup de personnes posent des questions en ce moment. Veuillez réessayer dans un instant.",
    wait: "Vous pourrez réessayer dans {0}.",
    slow: "Encore un peu de patience : il y a beaucoup de questions, ou le modèle est en cours de chargement.",
    good: "Bonne réponse", bad: "Mauvaise réponse", comment: "Qu’est-ce qui n’allait pas ? (facultatif)", submit: "Transmettre le commentaire", thanks: "Merci.",
    notRated: "Votre avis n’a pas pu être envoyé.",
  },
  es: {
    greeting: "Haga una pregunta. La respuesta procede de los documentos cargados aquí, con sus fuentes.",
    question: "Su pregunta", send: "Enviar", stop: "Detener", newChat: "Nueva conversación", copy: "Copiar", copied: "Copiado",
    sources: "Fuentes", you: "Usted", assistant: "Respuesta", key: "Clave de API", open: "Abrir", changeKey: "Cambiar la clave",
    keyWanted: "Introduzca la clave de API que recibió. Se conserva hasta que cierre esta pestaña.",
    wrongKey: "Esta clave de API no es válida. Compruébela.", tooLong: "Su pregunta es demasiado larga. Se admiten como máximo {0} caracteres.",
    tooMany: "Demasiadas preguntas. Vuelva a intentarlo en un momento.", modelDown: "El modelo de lenguaje no está disponible en este momento.",
    modelHint: "Si usted administra este servidor: inicie Ollama y descargue el modelo, o responda sin él (answer.provider: extractive).",
    nothingLoaded: "Todavía no se han cargado documentos para esta clave.",
    loadHint: "Si usted administra este servidor: orbit ingest CARPETA --collection NOMBRE.",
    trouble: "El servidor no puede responder en este momento. Vuelva a intentarlo más tarde.",
    offline: "No se puede contactar con el servidor. Compruebe su conexión.", cut: "La respuesta se interrumpió.",
    stopped: "Detenido.", again: "Reintentar", thinking: "Se está escribiendo la respuesta", newTab: "se abre en una pestaña nueva",
    busy: "Muchas personas están preguntando ahora. Vuelva a intentarlo en un momento.",
    wait: "Puede volver a intentarlo dentro de {0}.",
    slow: "Un poco de paciencia: hay muchas preguntas, o el modelo se está cargando.",
    good: "Buena respuesta", bad: "Mala respuesta", comment: "¿Qué estaba mal? (opcional)", submit: "Mandar comentario", thanks: "Gracias.",
    notRated: "No se pudo enviar su valoración.",
  },
};

const RENDER_MS = 80;
const HISTORY_CHARACTERS = 12000;
const SLOW_MS = 10000;
const BODY_BYTES = 64000; // the server takes 65,536
const SENTENCE_END = /[.!?。！？؟][)"”’»]*(?=\s|$)|\n/g;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A thumb that points up; a stylesheet turns it. */
function thumb() {
  const drawn = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const picture = drawn("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" });
  picture.append(drawn("path", { d: "M3 11h4v10H3zM9 11l4-8q3.5 0 1.7 6.5H20a2 2 0 0 1 2 2.3l-1.2 7.5A2 2 0 0 1 18.8 21H9z" }));
  return picture;
}

/** Say a time in seconds, rounded to what people say of it, in the words of a language. */
function spokenTime(seconds, lang) {
  const [amount, unit] = seconds < 120 ? [seconds, "second"] : seconds < 7200 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
  return new Intl.NumberFormat(lang, { style: "unit", unit, unitDisplay: "long", maximumFractionDigits: 0 }).format(Math.ceil(amount));
}

function language(wanted) {
  const names = [wanted, ...(navigator.languages ?? [])].filter(Boolean).map((name) => name.slice(0, 2).toLowerCase());
  return names.find((name) => name in STRINGS) ?? "en";
}

// -- a small Markdown, as DOM nodes ---------------------------------------------------------------

const INLINE = new RegExp(
  [
    "(`+)([^`\\n]{1,500})\\1", // 1, 2: code
    "\\*\\*([^\\n]{1,500}?)\\*\\*", // 3: bold
    "\\*([^\\s*][^*\\n]{0,300})\\*", // 4: italic
    "(!?)\\[([^\\]\\n]{0,300})\\]\\(\\s*([^\\s)[]{1,2000})(?:\\s[^)\\n]{0,200})?\\)", // 5, 6, 7: image or link
    "\\[(\\d{1,2})\\]", // 8: reference to a source
    "(https?://[^\\s<>\"')\\]]{3,2000})", // 9: bare address
  ].join("|"),
  "g",
);

function safeAddress(text) {
  try {
    const address = new URL(text);
    return ["http:", "https:", "mailto:"].includes(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}

function link(address, hint, ...children) {
  const attributes = { href: address, target: "_blank", rel: "noopener noreferrer" };
  return element("a", attributes, ...children, element("span", { class: "unseen" }, ` (${hint})`));
}

function inline(text, context, depth = 0) {
  const nodes = [];
  let end = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, , code, bold, italic, image, label, target, number, bare] = found;
    let node = null;
    if (code !== undefined) node = element("code", {}, code);
    else if (bold !== undefined) node = element("strong", {}, ...(depth < 3 ? inline(bold, context, depth + 1) : [bold]));
    else if (italic !== undefined) node = element("em", {}, ...(depth < 3 ? inline(italic, context, depth + 1) : [italic]));
    else if (target !== undefined) {
      // Images are never loaded: their address alone could carry the conversation elsewhere.
      const address = image ? null : safeAddress(target);
      node = address ? link(address, context.newTab, label || address) : document.createTextNode(image ? label : whole);
    } else if (number !== undefined) node = context.reference?.(Number(number)) ?? null;
    else if (bare !== undefined) {
      const shown = bare.replace(/[.,;:!?]+$/, "");
      const address = safeAddress(shown);
      if (address) {
        nodes.push(text.slice(end, found.index), link(address, context.newTab, shown));
        end = found.index + shown.length;
      }
      continue;
    }
    if (node) {
      nodes.push(text.slice(end, found.index), node);
      end = found.index + whole.length;
    }
  }
  nodes.push(text.slice(end));
  return nodes.filter((node) => node !== "");
}

const ITEM = /^(\s{0,8})(?:[-*+]|(\d{1,4})[.)])\s+([^]*)$/;
const FENCE = /^\s{0,3}(```+|~~~+)/;
const WIDEST_TABLE = 50; // a browser lays out every column of every row, cell or not
const RULE_CELL = /^:?-{2,}:?$/;

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
}

function isTableRule(line) {
  return line.includes("|") && cells(line).every((cell) => RULE_CELL.test(cell));
}

/** Return the nodes of a text in a small Markdown, in a time that grows with its length alone. */
function markdown(text, context) {
  return blocks(text.replace(/\r\n?/g, "\n").split("\n"), context, 0);
}

function blocks(lines, context, depth) {
  const nodes = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    if (fence) {
      let end = at + 1;
      while (end < lines.length && !lines[end].trim().startsWith(fence[1])) end++;
      nodes.push(element("pre", { tabindex: "0" }, element("code", {}, lines.slice(at + 1, end).join("\n"))));
      at = end + 1;
    } else if (!line.trim()) {
      at++;
    } else if (/^\s{0,3}#{1,6}\s/.test(line)) {
      nodes.push(element("p", {}, element("strong", {}, ...inline(line.replace(/^\s*#+\s+|\s#+\s*$/g, ""), context))));
      at++;
    } else if (/^\s{0,3}([-*_])(\s*\1){2,}\s*$/.test(line)) {
      nodes.push(element("hr"));
      at++;
    } else if (line.includes("|") && line.split("|").length <= WIDEST_TABLE && isTableRule(lines[at + 1] ?? "")) {
      const head = cells(line);
      let end = at + 2;
      while (end < lines.length && lines[end].includes("|")) end++;
      const row = (kind) => (values) =>
        element("tr", {}, ...values.slice(0, head.length).map((value) => element(kind, {}, ...inline(value, context))));
      const body = lines.slice(at + 2, end).map((each) => row("td")(cells(each)));
      const table = element("table", {}, element("thead", {}, row("th")(head)), element("tbody", {}, ...body));
      nodes.push(element("div", { class: "table", tabindex: "0" }, table));
      at = end;
    } else if (/^\s{0,3}>/.test(line) && depth < 4) {
      let end = at;
      while (end < lines.length && /^\s{0,3}>/.test(lines[end])) end++;
      const quoted = lines.slice(at, end).map((each) => each.replace(/^\s*>\s?/, ""));
      nodes.push(element("blockquote", {}, ...blocks(quoted, context, depth + 1)));
      at = end;
    } else if (ITEM.test(line) && depth < 4) {
      const [list, end] = listFrom(lines, at, context, depth);
      nodes.push(list);
      at = end;
    } else {
      let end = at + 1;
      while (end < lines.length && lines[end].trim() && !FENCE.test(lines[end]) && !ITEM.test(lines[end])) end++;
      nodes.push(element("p", {}, ...inline(lines.slice(at, end).join("\n"), context)));
      at = end;
    }
  }
  return nodes;
}

function listFrom(lines, at, context, depth) {
  const [, indent, number] = ITEM.exec(lines[at]);
  const list = element(number ? "ol" : "ul", number && number !== "1" ? { start: number } : {});
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (!item || item[1].length !== indent.length || Boolean(item[2]) !== Boolean(number)) break;
    let end = at + 1;
    while (end < lines.length) {
      const inner = lines[end];
      if (inner.trim() && inner.search(/\S/) <= indent.length) break;
      if (!inner.trim() && !(lines[end + 1] ?? "").startsWith(" ".repeat(indent.length + 2))) break;
      end++;
    }
    const below = lines.slice(at + 1, end).map((each) => each.slice(Math.min(indent.length + 2, each.search(/\S|$/))));
    list.append(element("li", {}, ...inline(item[3], context), ...blocks(below, context, depth + 1)));
    at = end;
    while (at + 1 < lines.length && !lines[at].trim() && ITEM.test(lines[at + 1])) at++;
  }
  return [list, at];
}

// -- the wire -------------------------------------------------------------------------------------

/** A refusal: `code` names the string to show, `retryAfter` is in seconds. */
class Refused extends Error {
  constructor(code, detail = "", retryAfter = null) {
    super(detail || code);
    Object.assign(this, { code, detail, retryAfter });
  }
}

/** Post to a route of the server; throw `Refused` for a status that is no success. */
async function post(settings, key, path, body, more = {}) {
  const headers = { "Content-Type": "application/json", ...more.headers };
  if (key && !/^[\x20-\x7e]+$/.test(key)) throw new Refused("invalid_api_key"); // no header can carry it
  if (key) headers[settings.key_header] = key;
  const response = await fetch(settings.root + path, { method: "POST", headers, body: JSON.stringify(body), signal: more.signal });
  if (!response.ok || !response.body) {
    const reply = (await response.json().catch(() => null)) ?? {};
    throw new Refused(reply.code ?? `http_${response.status}`, reply.detail, response.headers.get("Retry-After"));
  }
  return response;
}

/** Yield the events of one answer; throw `Refused` for a status that is no answer. */
async function* ask(settings, key, body, signal) {
  const response = await post(settings, key, "/chat", body, { headers: { Accept: "text/event-stream" }, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (waiting + value).split("\n\n");
      waiting = events.pop();
      for (const event of events) {
        if (event.startsWith("data: ")) yield JSON.parse(event.slice(6));
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // or the model would go on for nobody
  }
}

// -- the page -------------------------------------------------------------------------------------

/** What the page keeps until its tab is closed, apart from that of other servers on this site. */
class Memory {
  constructor(root) {
    this.prefix = `orbit${root}-`;
  }

  get(name) {
    try {
      return sessionStorage.getItem(this.prefix + name);
    } catch {
      return null;
    }
  }

  set(name, value) {
    try {
      if (value == null) sessionStorage.removeItem(this.prefix + name);
      else sessionStorage.setItem(this.prefix + name, value);
    } catch {
      // A browser that keeps nothing: the chat works, and is forgotten on reload.
    }
  }
}

const NO_MEMORY = { get: () => null, set() {} };

/**
 * A chat inside of `root`. `host` is the element whose language and colours are set. On a site of
 * somebody else nothing is kept in the browser: `settings.keep` is false, and `settings.key` given.
 */
class Chat {
  constructor(root, settings, host) {
    this.settings = settings;
    this.host = host;
    this.lang = language(settings.language);
    this.strings = STRINGS[this.lang];
    this.turns = [];
    this.memory = settings.keep ? new Memory(settings.root) : NO_MEMORY;
    this.key = (settings.keep ? this.keyFromAddress() : null) ?? this.memory.get("key") ?? settings.key;
    this.build(root);
    this.restore();
    this.showForm();
    this.checkHealth();
    if (settings.keep) addEventListener("hashchange", () => this.onLink());
  }

  // A link may bring the key behind "#key=", which browsers send to nobody.
  keyFromAddress() {
    const found = /^#key=([^&]+)$/.exec(location.hash);
    if (!found) return null;
    history.replaceState(null, "", location.pathname + location.search);
    let key = found[1];
    try {
      key = decodeURIComponent(key);
    } catch {
      // Half an escape: a wrong key like any other.
    }
    this.memory.set("key", key);
    return key;
  }

  // A link to the page that is open changes the address, and loads nothing.
  onLink() {
    const key = this.keyFromAddress();
    if (key === null || key === this.key) return;
    this.key = key;
    this.restart();
  }

  build(root) {
    const { strings, settings } = this;
    this.log = element("ol", { class: "log" });
    this.spoken = element("div", { class: "unseen", "aria-live": "polite" });
    this.notices = element("div", { role: "alert" });
    this.greeting = element("section", { class: "greeting", hidden: true }, element("div", { class: "words", dir: "auto" }, ...markdown(settings.greeting ?? strings.greeting, this.context())));
    if (settings.examples.length) {
      const buttons = settings.examples.map((text) =>
        element("li", {}, element("button", { type: "button", dir: "auto", onclick: () => this.send(text) }, text)));
      this.greeting.append(element("ul", { class: "examples" }, ...buttons));
    }
    this.input = element("textarea", { id: "question", rows: "1", dir: "auto", autocomplete: "off", enterkeyhint: "send" });
    this.input.addEventListener("keydown", (event) => this.onKey(event));
    this.input.addEventListener("input", () => this.grow());
    this.sendButton = element("button", { type: "submit", class: "main" }, strings.send);
    this.stopButton = element("button", { type: "button", class: "main", hidden: true, onclick: () => this.stop() }, strings.stop);
    this.form = element("form", { hidden: true, onsubmit: (event) => this.onSubmit(event) },
      element("label", { for: "question", class: "unseen" }, strings.question), this.input, this.sendButton, this.stopButton);
    this.input.placeholder = strings.question;
    this.keyInput = element("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true });
    this.keyForm = element("form", { hidden: true, onsubmit: (event) => this.onKeyGiven(event) },
      element("p", {}, strings.keyWanted), element("label", { for: "key" }, strings.key), this.keyInput,
      element("button", { type: "submit", class: "main" }, strings.open));
    this.changeKey = element("button", { type: "button", onclick: () => this.forgetKey() }, strings.changeKey);
    // Within another page there is one banner and one main part already: that page's.
    const [banner, main] = settings.keep ? ["header", "main"] : ["div", "div"];
    const header = element(banner, { class: "head" },
      ...(settings.logo ? [element("img", { src: settings.logo, alt: "" })] : []),
      element("h1", { dir: "auto" }, settings.title),
      element("button", { type: "button", onclick: () => this.restart() }, strings.newChat), this.changeKey);
    const links = settings.links.map(({ label, url }) => link(url, strings.newTab, label));
    this.scroll = element("div", { class: "scroll" }, this.greeting, this.log, this.notices, this.spoken);
    this.box = element("div", { class: "chat" }, header, element(main, { class: "body" }, this.scroll, this.keyForm, this.form),
      ...(links.length ? [element("footer", {}, ...links)] : []));
    root.append(this.box);
    this.host.lang = this.lang;
    if (settings.color) this.colour(settings.color);
    this.box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.running) return;
      event.stopPropagation(); // the first Escape stops an answer, the next one closes a widget
      this.stop();
    });
  }

  context(reference = null) {
    return { newTab: this.strings.newTab, reference };
  }

  colour(accent) {
    const [red, green, blue] = [1, 3, 5].map((at) => {
      const part = parseInt(accent.slice(at, at + 2), 16) / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    const light = 0.2126 * red + 0.7152 * green + 0.0722 * blue; // relative luminance, WCAG 2.2
    this.host.style.setProperty("--accent", accent);
    this.host.style.setProperty("--on-accent", light > 0.179 ? "#000" : "#fff");
  }

  // -- the key

  showForm() {
    const missing = this.settings.key_required && !this.key;
    this.keyForm.hidden = !missing;
    this.form.hidden = missing;
    this.changeKey.hidden = missing || !this.settings.key_required || Boolean(this.settings.key);
    this.greeting.hidden = missing || this.turns.length > 0;
    if (this.settings.keep) this.focus();
  }

  focus() {
    (this.keyForm.hidden ? this.input : this.keyInput).focus({ preventScroll: true });
  }

  onKeyGiven(event) {
    event.preventDefault();
    this.key = this.keyInput.value.trim();
    if (!this.key) return;
    this.memory.set("key", this.key);
    this.keyInput.value = "";
    this.notices.replaceChildren();
    this.showForm();
  }

  forgetKey() {
    this.stop();
    this.key = null;
    this.memory.set("key", null);
    this.restart();
  }

  // -- asking

  onKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) this.onSubmit(event);
  }

  onSubmit(event) {
    event.preventDefault();
    this.send(this.input.value);
  }

  grow() {
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight + 2}px`;
  }

  stop() {
    this.running?.abort();
  }

  async send(text) {
    const message = text.trim();
    if (!message || this.running) return;
    this.notices.replaceChildren();
    const most = this.settings.max_message_chars;
    if (Array.from(message).length > most) {
      this.notice(this.strings.tooLong.replace("{0}", most));
      return;
    }
    this.input.value = "";
    this.grow();
    this.greeting.hidden = true;
    const history = this.history(message);
    const asked = this.show({ role: "user", content: message });
    const answer = { role: "assistant", content: "", sources: [] };
    const shown = this.show(answer);
    shown.words.classList.add("waiting");
    this.spoken.textContent = this.strings.thinking;
    this.busy(true);
    const running = (this.running = new AbortController());
    const slow = setTimeout(() => {
      shown.words.textContent = this.spoken.textContent = this.strings.slow;
    }, SLOW_MS);
    let finished = false;
    let failure = null;
    try {
      for await (const event of ask(this.settings, this.key, { message, history, stream: true, stream_format: "delta" }, running.signal)) {
        if (event.done) {
          finished = true;
          Object.assign(answer, { sources: event.sources ?? [], id: event.id });
          if (event.error) failure = new Refused(event.error === "model_busy" ? event.error : "cut", "", event.retry_after);
        } else if (event.text && event.error !== "model_busy") { // which the page says itself
          clearTimeout(slow);
          answer.content += event.text;
          this.render(shown, answer);
        }
      }
      if (!finished) failure = new Refused("cut");
    } catch (error) {
      failure = running.signal.aborted ? new Refused("stopped") : error instanceof Refused ? error : new Refused(answer.content ? "cut" : "offline");
    }
    clearTimeout(slow);
    if (this.running === running) this.running = null;
    else return; // a new chat was begun meanwhile
    this.busy(false);
    this.render(shown, answer, true);
    if (failure) this.fail(failure, message, answer, [asked, shown]);
    if (answer.content && !failure) {
      this.turns.push({ role: "user", content: message }, answer);
      this.memory.set("turns", JSON.stringify(this.turns));
    }
    this.input.focus({ preventScroll: true });
  }

  history(message) {
    const bytes = (value) => new TextEncoder().encode(JSON.stringify(value)).length + 1;
    const kept = [];
    let left = HISTORY_CHARACTERS;
    let room = BODY_BYTES - bytes(message);
    for (const { role, content } of [...this.turns].reverse()) {
      left -= content.length;
      room -= bytes({ role, content });
      if (left < 0 || room < 0) break;
      kept.unshift({ role, content });
    }
    return kept[0]?.role === "assistant" ? kept.slice(1) : kept;
  }

  busy(busy) {
    this.sendButton.hidden = busy;
    this.stopButton.hidden = !busy;
    this.log.setAttribute("aria-busy", busy);
  }

  fail({ code, detail, retryAfter }, message, answer, [asked, shown]) {
    const { strings } = this;
    this.spoken.textContent = "";
    if (!answer.content) {
      for (const each of [asked, shown]) each.item.remove();
      this.input.value ||= message; // unless the next question has been begun
      this.grow();
    }
    if (["invalid_api_key", "http_401"].includes(code)) {
      if (this.key && this.key === this.settings.key) {
        this.notice(strings.trouble);
        return;
      }
      this.key = this.settings.key;
      this.memory.set("key", null);
      this.notice(strings.wrongKey);
      this.showForm();
      return;
    }
    const wait = Number(retryAfter) || 0;
    const sentence =
      code === "stopped" ? strings.stopped
      : code === "cut" ? strings.cut
      : code === "offline" ? strings.offline
      : ["body_too_large", "http_413"].includes(code) ? strings.tooLong.replace("{0}", this.settings.max_message_chars)
      : ["too_many_requests", "http_429"].includes(code) ? this.inTime(strings.tooMany, wait)
      : code === "model_busy" ? this.inTime(strings.busy, wait)
      : code === "collection_not_found" ? `${strings.nothingLoaded} ${strings.loadHint}`
      : code.startsWith("model_") ? `${strings.modelDown} ${strings.modelHint}`
      : ["unprocessable", "forbidden", "origin_not_allowed"].includes(code) && detail ? detail
      : strings.trouble;
    this.notice(sentence, () => {
      if (answer.content) for (const each of [asked, shown]) each.item.remove();
      this.send(message);
    }, wait);
  }

  /** Replace the second sentence of a text by when to try again, where that is known. */
  inTime(text, seconds) {
    if (!seconds) return text;
    return `${text.slice(0, text.indexOf(". ") + 1)} ${this.strings.wait.replace("{0}", spokenTime(seconds, this.lang))}`;
  }

  notice(sentence, again = null, wait = 0) {
    const notice = element("p", { class: "notice" }, sentence);
    if (again) {
      const button = element("button", { type: "button", class: "small", disabled: wait > 0, onclick: again }, this.strings.again);
      if (wait) setTimeout(() => (button.disabled = false), wait * 1000);
      notice.append(" ", button);
    }
    this.notices.replaceChildren(notice);
    notice.scrollIntoView({ block: "end" });
  }

  async checkHealth() {
    const headers = this.key ? { [this.settings.key_header]: this.key } : {};
    const reply = await fetch(`${this.settings.root}/health`, { headers }).then((got) => got.json()).catch(() => null);
    if (reply?.status !== "error" || this.running) return;
    const { strings } = this;
    const model = reply.components?.llm?.status === "error";
    this.notice(model ? `${strings.modelDown} ${strings.modelHint}` : strings.trouble);
  }

  // -- showing

  show(turn) {
    const words = element("div", { class: "words", dir: "auto" });
    const name = turn.role === "user" ? this.strings.you : this.strings.assistant;
    const after = element("div", { class: "after" });
    const item = element("li", { class: `turn ${turn.role}` }, element("span", { class: "unseen" }, `${name}: `), words);
    if (turn.role === "user") words.textContent = turn.content;
    else item.append(after);
    this.log.append(item);
    item.scrollIntoView({ block: "end" });
    return { item, words, after, spoken: 0, due: 0 };
  }

  /** Show an answer as far as it goes: often while it is written, with its sources at the end. */
  render(shown, answer, last = false) {
    const now = performance.now();
    if (!last && now < shown.due) {
      shown.timer ??= setTimeout(() => {
        shown.timer = null;
        if (this.running && shown.item.isConnected) this.render(shown, answer);
      }, shown.due - now);
      return;
    }
    shown.timer = clearTimeout(shown.timer);
    const nearEnd = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 80;
    const details = last && answer.sources?.length ? this.sourceList(answer.sources) : null;
    const reference = (number) => details && number >= 1 && number <= answer.sources.length
      ? element("button", { type: "button", class: "small cite", onclick: () => this.showSource(details, number) }, `[${number}]`)
      : null;
    shown.words.replaceChildren(...markdown(answer.content, this.context(reference)));
    if (answer.content || last) shown.words.classList.remove("waiting");
    this.announce(shown, answer.content, last);
    if (last) shown.after.replaceChildren(...(details ? [details] : []), ...this.copyButton(answer), ...this.rating(answer));
    if (nearEnd) shown.item.scrollIntoView({ block: "end" });
    // A long answer takes longer to lay out, so it is laid out less often.
    shown.due = performance.now() + Math.max(RENDER_MS, 4 * (performance.now() - now));
  }

  announce(shown, text, last) {
    const unspoken = text.slice(shown.spoken);
    const ends = [...unspoken.matchAll(SENTENCE_END)].map((found) => found.index + found[0].length);
    const length = last ? unspoken.length : (ends.at(-1) ?? 0);
    if (!length) return;
    shown.spoken += length;
    this.spoken.textContent = unspoken.slice(0, length).replace(/[*_`#|>]+/g, "");
  }

  sourceList(sources) {
    const items = sources.map((source) => {
      const address = /^https?:/.test(source.source) ? safeAddress(source.source) : null;
      const title = source.title || source.source;
      const name = address ? link(address, this.strings.newTab, title) : element("strong", {}, title);
      return element("li", { tabindex: "-1", dir: "auto" }, name, element("p", { class: "excerpt" }, source.excerpt ?? ""));
    });
    return element("details", {}, element("summary", {}, `${this.strings.sources} (${sources.length})`), element("ol", {}, ...items));
  }

  showSource(details, number) {
    details.open = true;
    details.querySelectorAll("li")[number - 1].focus();
  }

  copyButton(answer) {
    if (!navigator.clipboard || !answer.content) return [];
    const button = element("button", { type: "button", class: "small" }, this.strings.copy);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(answer.content);
      button.textContent = this.spoken.textContent = this.strings.copied;
      setTimeout(() => (button.textContent = this.strings.copy), 2000);
    });
    return [button];
  }

  // -- what readers think of answers

  rating(answer) {
    if (!answer.id) return [];
    const button = (name, value) => {
      const made = element("button", { type: "button", class: `small thumb ${name}`, "aria-label": this.strings[name], title: this.strings[name] }, thumb());
      made.addEventListener("click", () => this.rate(answer, value, buttons, comment));
      return made;
    };
    const text = element("textarea", { rows: "2", dir: "auto", maxlength: this.settings.max_message_chars });
    const comment = element("form", { class: "comment", hidden: true }, element("label", {}, this.strings.comment, text),
      element("button", { type: "submit", class: "small" }, this.strings.submit));
    const buttons = new Map([[1, button("good", 1)], [-1, button("bad", -1)]]);
    comment.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!text.value.trim()) comment.hidden = true;
      else if (await this.sendRating(answer, -1, text.value.trim())) {
        comment.hidden = true;
        this.spoken.textContent = this.strings.thanks;
      }
      if (comment.hidden) buttons.get(-1).focus();
    });
    this.showRating(answer, buttons);
    return [...buttons.values(), comment];
  }

  showRating(answer, buttons) {
    for (const [value, button] of buttons) button.setAttribute("aria-pressed", answer.rating === value);
  }

  async rate(answer, value, buttons, comment) {
    const before = answer.rating;
    if (value === before) {
      if (value < 0) comment.hidden = !comment.hidden;
      return;
    }
    answer.rating = value;
    this.showRating(answer, buttons);
    comment.hidden = value > 0;
    if (value < 0) comment.querySelector("textarea").focus();
    if (await this.sendRating(answer, value)) {
      this.memory.set("turns", JSON.stringify(this.turns));
      if (value > 0) this.spoken.textContent = this.strings.thanks;
      return;
    }
    answer.rating = before;
    this.showRating(answer, buttons);
    comment.hidden = true;
  }

  async sendRating({ id }, rating, comment = null) {
    try {
      await post(this.settings, this.key, "/feedback", { id, rating, comment });
      return true;
    } catch {
      this.notice(this.strings.notRated);
      return false;
    }
  }

  // -- one conversation after another

  restart() {
    this.stop();
    this.running = null;
    this.busy(false);
    this.turns = [];
    this.memory.set("turns", null);
    this.log.replaceChildren();
    this.notices.replaceChildren();
    this.spoken.textContent = "";
    this.showForm();
  }

  restore() {
    try {
      this.turns = JSON.parse(this.memory.get("turns") ?? "[]");
    } catch {
      this.turns = [];
    }
    for (const turn of this.turns) {
      const shown = this.show(turn);
      shown.spoken = turn.content.length; // nothing is read out again
      if (turn.role === "assistant") this.render(shown, turn, true);
    }
  }
}

// -- the widget -----------------------------------------------------------------------------------

/** `<orbit-chat data-key="…">`: a button that opens a chat, or with `inline` the chat itself. */
class OrbitChat extends HTMLElement {
  static settings = {};
  static style = null;

  connectedCallback() {
    if (this.shadowRoot) return; // moved within the page
    const { key = null, title, color, language, greeting, position } = this.dataset;
    const given = Object.fromEntries(Object.entries({ title, color, language, greeting }).filter(([, value]) => value));
    if (given.color && !/^#[0-9a-f]{6}$/i.test(given.color)) delete given.color;
    this.settings = { ...OrbitChat.settings, ...given, key, keep: false, logo: null };
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [OrbitChat.style];
    this.panel = element("div", { class: "widget", role: "dialog", id: "panel", "aria-label": this.settings.title });
    if (this.hasAttribute("inline")) {
      this.panel.setAttribute("role", "group");
      root.append(this.panel);
      this.start();
      return;
    }
    this.panel.hidden = true;
    this.opener = element("button", {
      type: "button", class: "main opener", "aria-expanded": "false", "aria-controls": "panel", onclick: () => this.toggle(),
    }, this.settings.title);
    const side = position === "left" ? "left" : "right";
    const floating = element("div", { class: `floating ${side}` }, this.panel, this.opener);
    floating.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.panel.hidden) return;
      event.stopPropagation();
      this.toggle();
    });
    root.append(floating);
    if (this.settings.color) Chat.prototype.colour.call({ host: this }, this.settings.color);
  }

  disconnectedCallback() {
    this.chat?.stop();
  }

  start() {
    this.chat ??= new Chat(this.panel, this.settings, this);
  }

  toggle() {
    const open = this.panel.hidden;
    this.panel.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
    if (!open) {
      this.opener.focus();
      return;
    }
    this.start();
    this.chat.focus();
  }
}

/** Define `<orbit-chat>`, once for a page however often it is asked for. */
export function defineWidget(settings, css) {
  if (customElements.get("orbit-chat")) return;
  OrbitChat.settings = settings;
  OrbitChat.style = new CSSStyleSheet();
  OrbitChat.style.replaceSync(css);
  customElements.define("orbit-chat", OrbitChat);
}

const ownRoot = document.documentElement.dataset.orbitRoot;
if (ownRoot !== undefined) {
  const settings = JSON.parse(document.getElementById("orbit-settings").textContent);
  new Chat(document.body, { ...settings, root: ownRoot, keep: true }, document.documentElement);
}
