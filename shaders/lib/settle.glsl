// settle is what the outputs of a row are to be multiplied by that has seen keys with this maximum and sum, or none; and its lse. The sink counts in it, unless there
// are other parts. sequence is its index in the batch. Needs params.glsl.
float settle(uint sequence, uint head, bool partial, float top, float sum, out float lse) {
    float by = 0.0;
    lse = minus_infinity();
    if (sum != 0.0) {
        by = 1.0 / sum;
        lse = log_sum(top, sum);
    }
    if (!partial && (flags & FLAG_SINK) != 0u) {
        float sink = uintBitsToFloat(lists[sink_list + sequence * sink_batch + head]);
        if (sum == 0.0) {
            lse = sink;
        } else {
            float both = max(top, sink);
            float kept = exp_difference(top, both);
            float total = sum * kept + exp_difference(sink, both);
            by = kept / total;
            lse = log_sum(both, total);
        }
    }
    return by;
}
