/* The search of a page that was opened from a folder. Browsers start no worker there, and the theme searches in one:
   this does a worker's work in a hidden frame. Over HTTP it does nothing. Its name tells the plugin `offline` that
   such a script is there, and that none has to be fetched from another machine. */
(() => {
  if (location.protocol !== "file:") return;

  /* What a worker's script finds in a worker and not in a frame; `frameElement` is the frame, seen from within. */
  const inside = `
    postMessage = data => frameElement.answer(data);
    importScripts = (...addresses) => addresses.reduce((before, address) => before.then(() => new Promise((done, failed) => {
      const script = document.createElement("script");
      Object.assign(script, { src: address, onload: done, onerror: failed });
      document.head.append(script);
    })), Promise.resolve());
  `;

  class FrameWorker extends EventTarget {
    constructor(address) {
      super();
      this.frame = Object.assign(document.createElement("iframe"), { hidden: true, title: "search" });
      this.frame.answer = data => this.dispatchEvent(new MessageEvent("message", { data }));
      const loaded = new Promise(done => { this.frame.loaded = done; });
      document.body.append(this.frame);
      const page = this.frame.contentDocument;
      page.open();
      page.write(`<!doctype html><script>${inside}</script>`);
      page.write(`<script src="${new URL(address, document.baseURI)}" onload="frameElement.loaded()"></script>`);
      page.close();
      this.last = loaded;
    }

    /* Messages arrive in their order, and none before the script is there to hear it. */
    postMessage(data) {
      const frame = this.frame.contentWindow;
      this.last = this.last.then(() => { frame.dispatchEvent(new frame.MessageEvent("message", { data })); });
    }

    terminate() {
      this.frame.remove();
    }
  }

  window.Worker = FrameWorker;
})();
