import RequestQueue from 'kafkajs/src/network/requestQueue/index.js';

const RECHECK_MS = 10;

/**
 * kafkajs re-arms a timer of zero or negative length after each check, also when nothing waits: about 900 wake-ups a second for each
 * idle connection, and a warning of Node's for each. A check is only due when requests wait, and they wait for a throttle or for an
 * answer (which checks by itself).
 */
export function patchRequestQueue(): void {
  RequestQueue.prototype.scheduleCheckPendingRequests = function (this: RequestQueue): void {
    if (this.throttleCheckTimeoutId !== null || this.pending.length === 0) return;
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null;
        this.checkPendingRequests();
      },
      Math.max(this.throttledUntil - Date.now(), RECHECK_MS),
    );
  };
}
