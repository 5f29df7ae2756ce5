import { describe, expect, it } from 'vitest';
import { createMetrics } from './metrics.ts';

describe('the metrics', () => {
  it('count by what they are told, each label by itself', async () => {
    const metrics = createMetrics();
    metrics.countRequest('chat', 200);
    metrics.countRequest('chat', 200);
    metrics.countRequest('chat', 502);
    metrics.countOutcome('success', 'exact');
    metrics.countOutcome('success', 'estimated');
    metrics.observeDurationMs('chat', 700);
    metrics.countVariance();
    let figure = 3;
    metrics.gauge('meridian_figure', 'A figure', () => figure);
    figure = 4;
    let figures: Record<string, number> = { a: 1, b: 2 };
    metrics.gaugeBy('meridian_figures', 'Figures', 'unit', () => figures);
    metrics.counter('meridian_things_total', 'Things', () => figure);
    await metrics.registry.metrics();
    figures = { b: 3 };
    const text = await metrics.registry.metrics();
    expect(text).toContain('meridian_requests_total{operation="chat",status="200"} 2\n');
    expect(text).toContain('meridian_requests_total{operation="chat",status="502"} 1\n');
    expect(text).toContain('meridian_settled_total{outcome="success",exactness="exact"} 1\n');
    expect(text).toContain('meridian_settled_total{outcome="success",exactness="estimated"} 1\n');
    expect(text).toContain('meridian_request_duration_seconds_bucket{le="0.5",operation="chat"} 0\n');
    expect(text).toContain('meridian_request_duration_seconds_bucket{le="1",operation="chat"} 1\n');
    expect(text).toContain('# TYPE meridian_request_duration_seconds histogram\n');
    expect(text).toContain('meridian_request_duration_seconds_bucket{le="+Inf",operation="chat"} 1\n');
    expect(text).toContain('meridian_request_duration_seconds_sum{operation="chat"} 0.7\n');
    expect(text).toContain('meridian_request_duration_seconds_count{operation="chat"} 1\n');
    expect(text).toContain('meridian_variance_total 1\n');
    expect(text).toContain('meridian_figure 4\n');
    expect(text).toContain('meridian_figures{unit="b"} 3\n');
    expect(text).not.toContain('unit="a"');
    expect(text).toContain('# TYPE meridian_things_total counter\nmeridian_things_total 4\n');
  });
});
