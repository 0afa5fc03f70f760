-- The moment of expiry, exact to the millisecond; -1 for none, -2 for no key. PTTL counts from a clock that runs on, so
-- before PEXPIRETIME (7.0) both are read in one and the same millisecond.
local function number(n) return string.format('%.0f', n) end
local function expiry(key)
  local at = redis.pcall('PEXPIRETIME', key)
  if type(at) == 'number' then return at end
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
