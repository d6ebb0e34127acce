// Fills the form from files that are dropped or chosen. A signature is read as text; of any other file only the digests
// are computed, here. Without this script the fields are filled by hand.
"use strict";

(() => {
  const of = (id) => document.getElementById(id);
  const drop = of("drop");
  const said = of("said");
  document.documentElement.classList.add("script");
  drop.hidden = false;

  const LARGEST_SIGNATURE = 6 * 1024 * 1024;
  const LARGEST_FILE = 1024 * 1024 * 1024;

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

  const hex = (buffer) => Array.from(new Uint8Array(buffer), (b) => b.toString(16).padStart(2, "0")).join("");

  const digestsOf = async (file) => {
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

  of("files").addEventListener("change", (event) => take(event.target.files));
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
    take(event.dataTransfer.files);
  });
})();
