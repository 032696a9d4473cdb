import { Histogram, type Registry } from 'prom-client';
import type { Exchange } from './exchange.js';

const name = 'spool_http_request_duration_seconds';

/** A histogram by service, method, route template and status; 499 where the client left. Servers with one registry share it. */
export function requestMetrics(registry: Registry, service: string): (exchange: Exchange) => void {
  const existing = registry.getSingleMetric(name) as Histogram | undefined;
  const histogram =
    existing ??
    new Histogram({
      name,
      help: 'Time from the arrival of the headers to the end of the answer',
      labelNames: ['service', 'method', 'route', 'status'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers: [registry],
    });
  return ({ request, response, template, arrivedAt, gone }) => {
    const seconds = (performance.now() - arrivedAt) / 1000;
    const status = gone ? '499' : String(response.statusCode);
    histogram.observe({ service, method: request.method, route: template, status }, seconds);
  };
}
