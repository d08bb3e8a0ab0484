// Where pictures come from: chosen, dropped, pasted, photographed.

/** Calls take([File]) with what the visitor gives. say: tells what went wrong, title and message. */
export function listen({ file, capture, camera, dialog, video, take, say }) {
  for (const input of [file, capture]) {
    input.addEventListener("change", () => {
      take([...input.files]);
      input.value = "";
    });
  }

  let inside = 0; // dragenter and dragleave come for every element that is crossed
  const dragged = (event) => event.dataTransfer?.types.includes("Files");
  const over = (depth) => {
    inside = depth;
    document.body.classList.toggle("dropping", inside > 0);
  };
  addEventListener("dragenter", (event) => dragged(event) && over(inside + 1));
  addEventListener("dragleave", (event) => dragged(event) && over(Math.max(0, inside - 1)));
  addEventListener("dragover", (event) => dragged(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!dragged(event)) return;
    event.preventDefault();
    over(0);
    take([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => take([...event.clipboardData.files]));

  camera.addEventListener("click", async () => {
    // Without HTTPS a browser has no camera for a page of another machine; a phone's own camera program stays.
    if (!navigator.mediaDevices) {
      capture.click();
      return;
    }
    try {
      const wanted = { width: { ideal: 1920 }, height: { ideal: 1440 }, facingMode: { ideal: "environment" } };
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
    } catch (error) {
      say("No camera", error.message);
      return;
    }
    dialog.returnValue = "";
    dialog.showModal();
    await video.play().catch(() => {}); // closed before it began
  });
  dialog.addEventListener("close", async () => {
    const shot = dialog.returnValue === "shoot" && video.videoWidth ? await still(video) : null;
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    if (shot) take([shot]);
  });
}

/** What the camera sees now, as a JPEG. */
async function still(video) {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  return new File([blob], "camera.jpg", { type: "image/jpeg" });
}
