/* Read without a server (file:), a page may not start a worker, and search runs in one.
   There, and only there, a worker's script runs in a hidden frame instead. */

if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc =
        "<script>self.postMessage = (data) => parent.postMessage(data, '*');</script>" +
        `<script src="${new URL(script, location.href)}"></script>`;
      this.ready = new Promise((done) => {
        frame.onload = () => done(frame.contentWindow);
      });
      window.addEventListener("message", (event) => {
        if (event.source === frame.contentWindow) {
          const message = new MessageEvent("message", { data: event.data });
          this.dispatchEvent(message);
          this.onmessage?.(message);
        }
      });
      document.documentElement.append(frame);
    }

    postMessage(data) {
      this.ready.then((target) => {
        target.dispatchEvent(new MessageEvent("message", { data }));
      });
    }

    terminate() {
      this.ready.then((target) => target.frameElement?.remove());
    }
  };
}
