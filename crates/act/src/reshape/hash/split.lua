-- Fields of one hash become keys again, atomic as every script; the inverse of merge.lua. KEYS: 1 the hash, then the keys.
-- ARGV: 1 'fields' where a field can expire by itself, 2 most bytes of values, then a field's name for each key. A key
-- that is there already is never overwritten: it is left, and so is its field.
-- Answers: what became of it (ok, type, big), positions of fields split off, of those in conflict, an empty list.
local hash, by_field, most = KEYS[1], ARGV[1] == 'fields', tonumber(ARGV[2])
local kind = redis.call('TYPE', hash).ok
if kind == 'none' then return {'ok', {}, {}, {}} end
if kind ~= 'hash' then return {'type', {}, {}, {}} end
local bytes = 0
for i = 2, #KEYS do bytes = bytes + redis.call('HSTRLEN', hash, ARGV[i + 1]) end
if bytes > most then return {'big', {}, {}, {}} end

local hash_at = expiry(hash)
local done, conflicts, taken = {}, {}, {}
for i = 2, #KEYS do
  local field = ARGV[i + 1]
  local value = redis.call('HGET', hash, field)
  if value then
    local at = hash_at
    if by_field then
      local own = redis.pcall('HPEXPIRETIME', hash, 'FIELDS', 1, field)
      if type(own[1]) == 'number' and own[1] >= 0 and (at < 0 or own[1] < at) then at = own[1] end
    end
    if redis.call('TYPE', KEYS[i]).ok == 'none' then
      redis.call('SET', KEYS[i], value)
      if at >= 0 then redis.call('PEXPIREAT', KEYS[i], number(at)) end
      taken[#taken + 1] = i
    else
      conflicts[#conflicts + 1] = i - 1
    end
  end
end
for _, i in ipairs(taken) do
  redis.call('HDEL', hash, ARGV[i + 1])
  done[#done + 1] = i - 1
end
return {'ok', done, conflicts, {}}
