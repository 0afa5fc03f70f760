-- Replaces a value by another form of it, if it still is what it was when it was read; atomic as every script. KEYS: the
-- key. ARGV: 1 the value as it was read, 2 the new one, 3 what the policy goes by (none, idle, freq), 4 that figure as it
-- was before the value was read. Expiry stays; idle time or access counter, too. Answers 1, or 0 for a value that changed.
local key, how, usage = KEYS[1], ARGV[3], ARGV[4]
local now = redis.pcall('GET', key)
if now ~= ARGV[1] then return 0 end
if how == 'none' then
  redis.call('SET', key, ARGV[2], 'KEEPTTL')
  return 1
end
local at = expiry(key)
redis.call('SET', key, ARGV[2], 'KEEPTTL')
local word = 'IDLETIME'
if how == 'freq' then word = 'FREQ' end
local payload = redis.call('DUMP', key)
redis.call('RESTORE', key, number(math.max(at, 0)), payload, 'REPLACE', 'ABSTTL', word, usage)
return 1
