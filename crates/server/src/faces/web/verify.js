// Fills the form from files that are dropped or chosen: a signature is read as text, of any other file the digests are
// computed here. Where this server has the engine for browsers, it verifies here too, and nothing is sent; otherwise the form is,
// without the file. Without this script the fields are filled by hand.
"use strict";

(() => {
  const of = (id) => document.getElementById(id);
  const form = of("verify");
  const drop = of("drop");
  const said = of("said");
  document.documentElement.classList.add("script");
  drop.hidden = false;

  const LARGEST_SIGNATURE = 6 * 1024 * 1024;
  // Without the engine a file is held in memory as a whole.
  const LARGEST_FILE = 1024 * 1024 * 1024;
  const PIECE = 1024 * 1024;

  // The engine's functions; null where there is none, or where this browser cannot run it.
  const load = async (address) => {
    try {
      const { instance } = await WebAssembly.instantiateStreaming(fetch(address));
      of("here").hidden = false;
      of("there").hidden = true;
      return instance.exports;
    } catch {
      return null;
    }
  };
  const engine = form.dataset.engine ? load(form.dataset.engine) : Promise.resolve(null);

  // Gives bytes to the engine. What reads them is called before anything else is given.
  const give = (functions, bytes) => {
    const place = functions.countersign_input(bytes.length) >>> 0;
    if (place === 0) throw new Error("that is too large to be verified here");
    new Uint8Array(functions.memory.buffer, place, bytes.length).set(bytes);
  };
  const output = (functions) => new TextDecoder().decode(
    new Uint8Array(functions.memory.buffer, functions.countersign_output() >>> 0, functions.countersign_output_length()));

  // A signature is JSON that says which kind of bundle it is.
  const asSignature = async (file) => {
    if (file.size > LARGEST_SIGNATURE || !/json|bundle/.test(file.name)) return null;
    const text = await file.text();
    try {
      const type = JSON.parse(text).mediaType;
      return typeof type === "string" && type.includes("sigstore.bundle") ? text : null;
    } catch {
      return null;
    }
  };

  const digestsByEngine = async (functions, file) => {
    functions.countersign_digest_begin();
    const reader = file.stream().getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      for (let at = 0; at < next.value.length; at += PIECE) {
        give(functions, next.value.subarray(at, at + PIECE));
        functions.countersign_digest_add();
      }
    }
    functions.countersign_digest_end();
    return output(functions);
  };

  const hex = (buffer) => Array.from(new Uint8Array(buffer), (b) => b.toString(16).padStart(2, "0")).join("");

  const digestsOf = async (file) => {
    const functions = await engine;
    if (functions) return digestsByEngine(functions, file);
    if (!window.crypto || !crypto.subtle) {
      throw new Error("this browser computes digests only on pages with TLS; type the digest: sha256sum " + file.name);
    }
    if (file.size > LARGEST_FILE) throw new Error(file.name + " is too large for this page; type its digest");
    const bytes = await file.arrayBuffer();
    const names = [["SHA-256", "sha256:"], ["SHA-384", "sha384:"], ["SHA-512", "sha512:"]];
    const all = await Promise.all(names.map(async ([name, prefix]) => prefix + hex(await crypto.subtle.digest(name, bytes))));
    return all.join("\n");
  };

  const take = async (files) => {
    const told = [];
    for (const file of files) {
      try {
        const signature = await asSignature(file);
        if (signature !== null) {
          of("bundle").value = signature;
          told.push("signature: " + file.name);
        } else {
          said.textContent = "computing the digest of " + file.name + "…";
          // The digest of another file does not stay beside this one's name.
          of("digests").value = "";
          of("digests").value = await digestsOf(file);
          told.push("file: " + file.name);
        }
      } catch (error) {
        told.push(error.message);
      }
    }
    const missing = of("bundle").value === "" ? "; now the signature" : of("digests").value === "" ? "; now the file" : "";
    said.textContent = told.join("; ") + missing;
  };
  // One after the other.
  let taken = Promise.resolve();
  const takeNext = (files) => {
    const all = Array.from(files);
    taken = taken.then(() => take(all));
  };

  const show = (nodes) => {
    const answer = of("answer");
    answer.replaceChildren(...nodes);
    answer.focus();
    answer.scrollIntoView();
  };
  // Markup of the engine, in which what strangers wrote is text. Nothing in it runs, by the policy of this page.
  const markup = (text) => Array.from(new DOMParser().parseFromString(text, "text/html").body.childNodes);
  const failed = (why) => {
    const section = document.createElement("section");
    section.className = "answer";
    const head = document.createElement("h2");
    head.className = "verdict bad";
    head.id = "verdict";
    head.textContent = "Not verified";
    const text = document.createElement("p");
    text.textContent = why;
    section.append(head, text);
    return [section];
  };

  const verifyHere = async (functions) => {
    // Each time anew: what is revoked meanwhile counts.
    const trust = await fetch("/verify/trust.json", { cache: "no-store" });
    if (!trust.ok) return failed(await trust.text());
    give(functions, new Uint8Array(await trust.arrayBuffer()));
    if (functions.countersign_trust() === 1) {
      give(functions, new TextEncoder().encode(new URLSearchParams(new FormData(form)).toString()));
      functions.countersign_verify(BigInt(Math.floor(Date.now() / 1000)));
    }
    return markup(output(functions));
  };

  if (form.dataset.engine) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      of("answer").replaceChildren();
      await taken;
      const functions = await engine;
      if (!functions) {
        form.submit();
        return;
      }
      try {
        show(await verifyHere(functions));
      } catch (error) {
        show(failed("The verification in this browser ended early: " + error.message + ". Load this page again."));
      }
    });
  }

  of("files").addEventListener("change", (event) => takeNext(event.target.files));
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    takeNext(event.dataTransfer.files);
  });
})();
