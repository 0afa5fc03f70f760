-- One batch of repack, atomic as every script. KEYS: keys of one slot. ARGV: 1 prefix of our names, 2 their life in ms,
-- 3 how to copy (copy, dump, dump-idle, dump-freq), 4 largest key in bytes, 5 bytes after which to stop,
-- 6 'fill' where copies are wanted only to soak up the allocator's cache of freed regions, to be deleted later, 7 number
-- of the first name, 8 the limit on RSS, 0 where there is none, 9 'exact' where PEXPIRETIME (7.0) may be asked. Key i is
-- set aside as prefix, number + i, and dots up to its own length: a name of another size class would hand the old name's
-- region straight to the new one, and names would never move. 10 the least key in bytes, smaller ones are passed over.
-- Answers: keys looked at, keys done, bytes done, positions of keys too big, positions of keys that cannot be copied,
-- and 1 when there was no room to begin.
local prefix, life, how, fill = ARGV[1], ARGV[2], ARGV[3], ARGV[6] == 'fill'
local largest, enough = tonumber(ARGV[4]), tonumber(ARGV[5])
local first, limit, exact = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == 'exact'
local least = tonumber(ARGV[10])
local looked, done, bytes = 0, 0, 0
local big, odd, copied = {}, {}, {}

-- Asked here, inside the batch, so that nothing can come between the answer and the copies: a copy must neither make the
-- server evict or refuse writes, nor bring the process to its limit.
local function crowded()
  local info = redis.call('INFO', 'memory')
  local function field(name) return tonumber(string.match(info, '\n' .. name .. ':(%d+)')) or 0 end
  local function full(now, most) return most > 0 and now + enough + largest + most / 100 > most end
  local counted = field('used_memory') - field('mem_not_counted_for_evict')
  return full(counted, field('maxmemory')) or full(field('used_memory_rss'), limit)
end
if crowded() then return {0, 0, 0, {}, {}, 1} end

local function number(n) return string.format('%.0f', n) end
local function padded(name, i) return name .. string.rep('.', math.min(#KEYS[i], 512) - #name) end
local function aside(i) return padded(prefix .. number(first + i), i) end
local function fresh(i) return padded(prefix .. 't' .. i, i) end

-- The moment of expiry, exact to the millisecond. PTTL counts from a clock that runs on, so before PEXPIRETIME (7.0)
-- both are read in one and the same millisecond.
local function expiry(key)
  if exact then return redis.call('PEXPIRETIME', key) end
  while true do
    local before = redis.call('TIME')
    local ttl = redis.call('PTTL', key)
    local after = redis.call('TIME')
    local ms = math.floor(before[2] / 1000)
    if ttl < 0 then return ttl end
    if before[1] == after[1] and ms == math.floor(after[2] / 1000) then
      return before[1] * 1000 + ms + ttl
    end
  end
end

-- Makes a fresh value under `to` from `payload`. Where idle times or access counters are kept, expiry goes with them in
-- one command: PEXPIREAT would count as an access.
local function restore(payload, to, at, usage)
  local made
  if usage then
    local word = how == 'dump-idle' and 'IDLETIME' or 'FREQ'
    made = redis.pcall('RESTORE', to, number(math.max(at, 0)), payload, 'ABSTTL', word, usage)
  else
    made = redis.pcall('RESTORE', to, 0, payload)
  end
  if made.err then return false end
  if at >= 0 and not usage then redis.call('PEXPIREAT', to, number(at)) end
  return true
end

-- Without it no key may be touched: an error here ends the batch before that.
local function usage_of(key)
  if how == 'dump-idle' then return redis.call('OBJECT', 'IDLETIME', key) end
  if how == 'dump-freq' then return redis.call('OBJECT', 'FREQ', key) end
end

-- COPY keeps encodings; the renames wait until all copies are made, so that names and table entries move, too.
local function by_copy(i)
  local made = redis.pcall('COPY', KEYS[i], fill and aside(i) or fresh(i))
  if type(made) == 'table' then
    -- No right to it: said at once where there is nothing of ours yet, as in the rehearsal.
    local denied = string.find(made.err, 'NOPERM') or string.find(made.err, "can't run")
    if i == 1 and denied then error(made.err) end
    return nil
  end
  if made == 1 then
    if fill then redis.call('PEXPIRE', aside(i), life) else copied[i] = true end
  end
  return made == 1
end

-- RESTORE goes straight to the key's own name, because RENAME would count as an access. DUMP counts as one, too, so there
-- is no copying without replacing: 'fill' replaces here as well, and the key is moved once more in its own turn.
local function by_dump(i)
  local key = KEYS[i]
  local usage = usage_of(key)
  local payload = redis.pcall('DUMP', key)
  if not payload then return false end
  if type(payload) == 'table' then return nil end
  local at = expiry(key)
  redis.call('RENAME', key, aside(i))
  if restore(payload, key, at, usage) then
    redis.call('PEXPIRE', aside(i), life)
    return true
  end
  redis.call('RENAME', aside(i), key)
  return nil
end

-- Rights may be taken away in the middle of a run. One that is missing shows here, on a key that is not there, and not
-- when a key of somebody's has lost its name or its expiry and cannot have it back.
redis.call('PEXPIRE', fresh(1), life)
if how ~= 'copy' then redis.call('PEXPIREAT', fresh(1), 1) end

for i = 1, #KEYS do
  looked = i
  local size = redis.call('MEMORY', 'USAGE', KEYS[i])
  if size and size > largest then
    big[#big + 1] = i
  elseif size and size >= least then
    local made
    if how == 'copy' then made = by_copy(i) else made = by_dump(i) end
    if made then
      done = done + 1
      bytes = bytes + size
    elseif made == nil then
      odd[#odd + 1] = i
    end
  end
  if bytes >= enough then break end
end
-- The same for RENAME, on a copy of ours and to its own name; expiry at once deletes.
for first_copy in pairs(copied) do
  local tried = redis.pcall('RENAME', fresh(first_copy), fresh(first_copy))
  if tried.err then
    for i in pairs(copied) do redis.call('PEXPIRE', fresh(i), 0) end
    error(tried.err)
  end
  break
end
for i = 1, looked do
  if copied[i] then
    redis.call('RENAME', KEYS[i], aside(i))
    redis.call('PEXPIRE', aside(i), life)
  end
end
for i = 1, looked do
  if copied[i] then redis.call('RENAME', fresh(i), KEYS[i]) end
end
return {looked, done, bytes, big, odd, 0}
