// Loads the chat widget. Put into a page as:
//   <script src="https://…/widget.js" data-key="api_…" async></script>
// With data-key it adds a button to the page; without, it only defines <orbit-chat>.
(() => {
  const script = document.currentScript;
  const root = new URL(".", script.src).href.slice(0, -1);
  const settings = { ...$settings, root };
  const files = Promise.all([
    import(`$${root}/web/$js`),
    fetch(`$${root}/web/$css`, { credentials: "omit" }).then((response) => response.text()),
  ]);
  files.then(([{ defineWidget }, css]) => {
    defineWidget(settings, css);
    if (script.dataset.key === undefined) return;
    const chat = document.createElement("orbit-chat");
    Object.assign(chat.dataset, script.dataset);
    document.body.append(chat);
  }).catch((error) => console.error("The chat widget cannot be loaded:", error));
})();
