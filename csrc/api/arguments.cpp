#include "csrc/api/arguments.h"

#include <cmath>

#include "csrc/api/checks.h"

namespace hogwild::api {
namespace {

int to_int(int64_t value) { return static_cast<int>(value); }

Cache cache_params(const char* op, const at::Tensor& k_cache, const at::Tensor& v_cache) {
    Argument(op, "k_cache", k_cache).shape({-1, -1, -1, -1}, "[P, K, S, D]").contiguous().element_type();
    Argument(op, "v_cache", v_cache)
        .dtype(k_cache.scalar_type())
        .device_of(k_cache, "k_cache")
        .shape({k_cache.size(0), k_cache.size(1), k_cache.size(2), -1}, "[P, K, S, Dv]")
        .contiguous();
    for (int64_t dim = 1; dim < 4; ++dim) {
        HOGWILD_CHECK_VALUE(k_cache.size(dim) > 0 && v_cache.size(dim) > 0, op, ": k_cache of shape ",
                            k_cache.sizes(), " and v_cache of shape ", v_cache.sizes(),
                            ": K, S, D and Dv must be at least 1");
    }
    return {k_cache.data_ptr(),      v_cache.data_ptr(),      to_int(k_cache.size(0)),
            to_int(k_cache.size(1)), to_int(k_cache.size(2)), to_int(k_cache.size(3)),
            to_int(v_cache.size(3))};
}

RotaryDims rotary_dims(const char* op, const char* source, int64_t half, int64_t start, bool interleaved,
                       int64_t head_dim) {
    HOGWILD_CHECK_VALUE(start >= 0 && start <= head_dim, op, ": rotary_start is ", start, "; expected 0 to ",
                        head_dim, ", the dims of a head");
    HOGWILD_CHECK_VALUE(start + 2 * half <= head_dim, op, ": ", source, " rotates ", 2 * half,
                        " dims from rotary_start ", start, " on, but a head has only ", head_dim);
    return {to_int(half), to_int(start), interleaved};
}

// The tensor itself if its last dimension is dense, else a dense copy.
const at::Tensor& with_dense_rows(const at::Tensor& tensor, KeepAlive& keep_alive) {
    if (tensor.size(-1) == 1 || tensor.stride(-1) == 1) return tensor;
    return keep_alive.emplace_back(tensor.contiguous());
}

}  // namespace

AppendParams append_params(const at::Tensor& k, const at::Tensor& v, const at::Tensor& k_cache,
                           const at::Tensor& v_cache, const at::Tensor& slots, KeepAlive& keep_alive) {
    const char* op = "append";
    keep_alive.reserve(2);
    AppendParams params{};
    params.cache = cache_params(op, k_cache, v_cache);
    params.dtype = Argument(op, "k_cache", k_cache).element_type();
    Argument(op, "v_cache", v_cache).apart_from(k_cache, "k_cache");
    Argument(op, "slots", slots)
        .dtype(at::kLong)
        .device_of(k_cache, "k_cache")
        .shape({-1}, "[T]")
        .contiguous();
    const int64_t num_tokens = slots.size(0);
    Argument(op, "k", k)
        .dtype(k_cache.scalar_type())
        .device_of(k_cache, "k_cache")
        .shape({num_tokens, k_cache.size(1), k_cache.size(3)}, "[T, K, D]")
        .apart_from(k_cache, "k_cache")
        .apart_from(v_cache, "v_cache");
    Argument(op, "v", v)
        .dtype(k_cache.scalar_type())
        .device_of(k_cache, "k_cache")
        .shape({num_tokens, v_cache.size(1), v_cache.size(3)}, "[T, K, Dv]")
        .apart_from(k_cache, "k_cache")
        .apart_from(v_cache, "v_cache");
    const at::Tensor& k_rows = with_dense_rows(k, keep_alive);
    const at::Tensor& v_rows = with_dense_rows(v, keep_alive);
    params.k = k_rows.data_ptr();
    params.v = v_rows.data_ptr();
    params.k_token_stride = k_rows.stride(0);
    params.k_head_stride = k_rows.stride(1);
    params.v_token_stride = v_rows.stride(0);
    params.v_head_stride = v_rows.stride(1);
    params.slots = slots.data_ptr<int64_t>();
    params.num_tokens = to_int(num_tokens);
    return params;
}

RotationTableParams rotation_table_params(const at::Tensor& query_pos, const at::Tensor& rotary_pos,
                                          const at::Tensor& inv_freq) {
    const char* op = "rotation_table";
    Argument(op, "query_pos", query_pos).dtype(at::kInt).shape({-1, -1}, "[T, F]").contiguous();
    Argument(op, "rotary_pos", rotary_pos)
        .dtype(at::kInt)
        .device_of(query_pos, "query_pos")
        .shape({query_pos.size(0)}, "[T]")
        .contiguous();
    Argument(op, "inv_freq", inv_freq)
        .dtype(at::kFloat)
        .device_of(query_pos, "query_pos")
        .shape({-1}, "[R/2]")
        .contiguous();
    RotationTableParams params{};
    params.query_pos = query_pos.data_ptr<int32_t>();
    params.rotary_pos = rotary_pos.data_ptr<int32_t>();
    params.inv_freq = inv_freq.data_ptr<float>();
    params.num_tokens = to_int(query_pos.size(0));
    params.num_columns = to_int(query_pos.size(1));
    params.half = to_int(inv_freq.size(0));
    return params;
}

AttentionParams attention_params(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                                 const at::Tensor& block_table, const at::Tensor& block_lens,
                                 const at::Tensor& group_tokens, const at::Tensor& group_blocks,
                                 const at::Tensor& query_pos, const at::Tensor& rotary_pos,
                                 const at::Tensor& own_block, const OptionalTensor& rotation, double scale,
                                 int64_t window, double softcap, const OptionalTensor& sinks,
                                 bool interleaved, int64_t rotary_start, KeepAlive& keep_alive) {
    const char* op = "attention";
    keep_alive.reserve(2);
    AttentionParams params{};
    params.cache = cache_params(op, k_cache, v_cache);
    params.dtype = Argument(op, "k_cache", k_cache).element_type();

    Argument(op, "q", q)
        .dtype(k_cache.scalar_type())
        .device_of(k_cache, "k_cache")
        .shape({-1, -1, k_cache.size(3)}, "[T, H, D]");
    const int64_t num_tokens = q.size(0), num_heads = q.size(1), num_kv_heads = k_cache.size(1);
    HOGWILD_CHECK_VALUE(num_heads > 0 && num_heads % num_kv_heads == 0, op, ": q has ", num_heads,
                        " heads; expected a multiple of k_cache's ", num_kv_heads, " kv heads");

    const auto int_argument = [&](const char* name, const at::Tensor& tensor, at::IntArrayRef sizes,
                                  const char* meaning) {
        Argument(op, name, tensor)
            .dtype(at::kInt)
            .device_of(k_cache, "k_cache")
            .shape(sizes, meaning)
            .contiguous();
        return tensor.data_ptr<int32_t>();
    };
    params.block_lens = int_argument("block_lens", block_lens, {-1}, "[B]");
    params.block_table = int_argument("block_table", block_table, {block_lens.size(0), -1}, "[B, max_pages]");
    params.group_tokens = int_argument("group_tokens", group_tokens, {-1}, "[G+1]");
    HOGWILD_CHECK_VALUE(group_tokens.size(0) > 0, op, ": group_tokens is empty; expected G+1 offsets");
    params.group_blocks = int_argument("group_blocks", group_blocks, {group_tokens.size(0)}, "[G+1]");
    params.query_pos = int_argument("query_pos", query_pos, {num_tokens, -1}, "[T, F]");
    params.rotary_pos = int_argument("rotary_pos", rotary_pos, {num_tokens}, "[T]");
    params.own_block = int_argument("own_block", own_block, {num_tokens}, "[T]");

    if (rotation.has_value()) {
        Argument(op, "rotation", *rotation)
            .dtype(at::kFloat)
            .device_of(k_cache, "k_cache")
            .shape({num_tokens, query_pos.size(1), 2, -1}, "[T, F, 2, R/2]")
            .contiguous();
        params.rotation = rotation->data_ptr<float>();
    }
    const int64_t half = rotation.has_value() ? rotation->size(3) : 0;
    params.rotary = rotary_dims(op, "rotation", half, rotary_start, interleaved, k_cache.size(3));

    if (sinks.has_value()) {
        Argument(op, "sinks", *sinks)
            .floating_point()
            .device_of(k_cache, "k_cache")
            .shape({num_heads}, "[H]");
        params.sinks = keep_alive.emplace_back(sinks->to(at::kFloat).contiguous()).data_ptr<float>();
    }
    params.scale = static_cast<float>(scale);
    params.softcap = static_cast<float>(softcap);
    HOGWILD_CHECK_VALUE(std::isfinite(params.scale), op, ": scale is ", scale,
                        "; expected a number that is finite in fp32");
    HOGWILD_CHECK_VALUE(window >= 0 && window <= std::numeric_limits<int32_t>::max(), op, ": window is ",
                        window, "; expected 0 (none) or a number of tokens");
    HOGWILD_CHECK_VALUE(softcap == 0 || (params.softcap > 0 && std::isfinite(params.softcap)), op,
                        ": softcap is ", softcap,
                        "; expected 0 (none) or a number that is positive and finite in fp32");

    const at::Tensor& q_rows = with_dense_rows(q, keep_alive);
    params.q = q_rows.data_ptr();
    params.q_token_stride = q_rows.stride(0);
    params.q_head_stride = q_rows.stride(1);
    params.num_tokens = to_int(num_tokens);
    params.num_groups = to_int(group_tokens.size(0) - 1);
    params.num_blocks = to_int(block_lens.size(0));
    params.num_columns = to_int(query_pos.size(1));
    params.max_pages = to_int(block_table.size(1));
    params.num_heads = to_int(num_heads);
    params.window = to_int(window);
    return params;
}

MoveParams move_params(const at::Tensor& k_cache, const at::Tensor& v_cache, const at::Tensor& src_slots,
                       const at::Tensor& dst_slots, const at::Tensor& shift, const OptionalTensor& inv_freq,
                       bool interleaved, int64_t rotary_start) {
    const char* op = "move";
    MoveParams params{};
    params.cache = cache_params(op, k_cache, v_cache);
    params.dtype = Argument(op, "k_cache", k_cache).element_type();
    Argument(op, "v_cache", v_cache).apart_from(k_cache, "k_cache");
    Argument(op, "src_slots", src_slots)
        .dtype(at::kLong)
        .device_of(k_cache, "k_cache")
        .shape({-1}, "[N]")
        .contiguous();
    const int64_t num_entries = src_slots.size(0);
    Argument(op, "dst_slots", dst_slots)
        .dtype(at::kLong)
        .device_of(k_cache, "k_cache")
        .shape({num_entries}, "[N]")
        .contiguous();
    Argument(op, "shift", shift)
        .dtype(at::kInt)
        .device_of(k_cache, "k_cache")
        .shape({num_entries}, "[N]")
        .contiguous();
    int64_t half = 0;
    if (inv_freq.has_value()) {
        Argument(op, "inv_freq", *inv_freq)
            .dtype(at::kFloat)
            .device_of(k_cache, "k_cache")
            .shape({-1}, "[R/2]")
            .contiguous();
        params.inv_freq = inv_freq->data_ptr<float>();
        half = inv_freq->size(0);
    }
    params.rotary = rotary_dims(op, "inv_freq", half, rotary_start, interleaved, k_cache.size(3));
    params.src_slots = src_slots.data_ptr<int64_t>();
    params.dst_slots = dst_slots.data_ptr<int64_t>();
    params.shift = shift.data_ptr<int32_t>();
    params.num_entries = to_int(num_entries);
    return params;
}

AdmitParams admit_params(const at::Tensor& tokens, const at::Tensor& plain, const at::Tensor& classes,
                         const at::Tensor& ids, const at::Tensor& admitted) {
    const char* op = "admit";
    Argument(op, "tokens", tokens).dtype(at::kLong).shape({-1}, "[T]").contiguous();
    const int64_t num_tokens = tokens.size(0);
    Argument(op, "plain", plain)
        .dtype(at::kBool)
        .device_of(tokens, "tokens")
        .shape({-1, -1}, "[C, V]")
        .contiguous();
    Argument(op, "classes", classes)
        .dtype(at::kInt)
        .device_of(tokens, "tokens")
        .shape({num_tokens}, "[T]")
        .contiguous();
    Argument(op, "ids", ids)
        .dtype(at::kLong)
        .device_of(tokens, "tokens")
        .shape({-1}, "[T or more]")
        .contiguous()
        .apart_from(tokens, "tokens");
    HOGWILD_CHECK_VALUE(ids.size(0) >= num_tokens, op, ": ids has room for ", ids.size(0),
                        "; expected at least the ", num_tokens, " of tokens");
    Argument(op, "admitted", admitted).dtype(at::kInt).device_of(tokens, "tokens").shape({1}, "[1]");
    AdmitParams params{};
    params.tokens = tokens.data_ptr<int64_t>();
    params.plain = plain.data_ptr<bool>();
    params.classes = classes.data_ptr<int32_t>();
    params.ids = ids.data_ptr<int64_t>();
    params.admitted = admitted.data_ptr<int32_t>();
    params.num_tokens = to_int(num_tokens);
    params.num_classes = to_int(plain.size(0));
    params.num_ids = plain.size(1);
    return params;
}

}  // namespace hogwild::api
