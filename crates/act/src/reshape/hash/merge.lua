-- Keys become fields of one hash, atomic as every script. KEYS: 1 the hash, then the keys. ARGV: 1 'fields' where a field
-- can expire by itself, 2 most bytes of values, then a field's name for each key. What a key holds now is what is merged.
-- A field that is there already is never overwritten: it is left, and so is its key, even where both say the same: two
-- counters that happen to stand at the same number are two counts.
-- Answers: what became of it (ok, type, big, ttl), positions of keys merged, of those in conflict, of those no strings.
local hash, by_field, most = KEYS[1], ARGV[1] == 'fields', tonumber(ARGV[2])
local kind = redis.call('TYPE', hash).ok
if kind ~= 'none' and kind ~= 'hash' then return {'type', {}, {}, {}} end
local hash_at = -2
if kind == 'hash' then hash_at = expiry(hash) end

local strings, odd, bytes = {}, {}, 0
for i = 2, #KEYS do
  local is = redis.call('TYPE', KEYS[i]).ok
  if is == 'string' then
    strings[#strings + 1] = i
    bytes = bytes + redis.call('STRLEN', KEYS[i])
  elseif is ~= 'none' then
    odd[#odd + 1] = i - 1
  end
end
if bytes > most then return {'big', {}, {}, odd} end

local merged, conflicts, value_of, at_of = {}, {}, {}, {}
local first, equal = nil, true
for _, i in ipairs(strings) do
  local value = redis.call('GET', KEYS[i])
  if value then
    local field, at = ARGV[i + 1], expiry(KEYS[i])
    if kind == 'hash' and redis.call('HEXISTS', hash, field) == 1 then
      conflicts[#conflicts + 1] = i - 1
    else
      merged[#merged + 1] = i
      value_of[i], at_of[i] = value, at
      first = first or at
      equal = equal and at == first
    end
  end
end

local whole = first and equal and (hash_at == -2 or hash_at == first)
if first and not whole and not (by_field and hash_at < 0) then return {'ttl', {}, conflicts, odd} end
-- Many fields at a time: a listpack grown field by field is allocated anew for each.
local done, batch = {}, {}
for at, i in ipairs(merged) do
  batch[#batch + 1] = ARGV[i + 1]
  batch[#batch + 1] = value_of[i]
  if #batch >= 1000 or at == #merged then
    redis.call('HSET', hash, unpack(batch))
    batch = {}
  end
end
for _, i in ipairs(merged) do
  if not whole and at_of[i] >= 0 then
    redis.call('HPEXPIREAT', hash, number(at_of[i]), 'FIELDS', 1, ARGV[i + 1])
  end
end
-- A table that was doubled on the way keeps the old one until lookups have emptied it, one bucket each.
if redis.call('OBJECT', 'ENCODING', hash) == 'hashtable' then
  for _, i in ipairs(merged) do redis.call('HEXISTS', hash, ARGV[i + 1]) end
end
if whole and hash_at == -2 and first >= 0 then redis.call('PEXPIREAT', hash, number(first)) end
for _, i in ipairs(merged) do
  redis.call('UNLINK', KEYS[i])
  done[#done + 1] = i - 1
end
return {'ok', done, conflicts, odd}
